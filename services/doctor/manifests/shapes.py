"""Whether objects are what the API server takes: no unknown field, no missing one, no wrong type.

Kubernetes' own kinds are checked by the schemas of the package kubernetes-validate, kinds of KubeRay and Prometheus'
operator by their definitions in deploy/k8s/crds. Where one of the two is not installed, that is said.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from likeness.doctor.findings import Finding, note, problem
from services.common.profile import ROOT
from services.doctor.manifests.model import Manifests, Object, title

CHECK = "schema"
KUBERNETES_VERSION = "1.32"
"""The oldest release that the manifests are written for: later ones take the same objects."""
DEFINITIONS = ROOT / "deploy" / "k8s" / "crds"
PACKAGE = "kubernetes_validate"

_GROUPS = ("networking", "rbac.authorization", "storage", "scheduling", "admissionregistration", "coordination", "node")
"""Kubernetes' own API groups with a domain, without it."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FREE = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource")


def shapes(manifests: Manifests) -> Iterator[Finding]:
    """Objects that the API server would refuse."""
    unknown: set[str] = set()
    defined = definitions(DEFINITIONS)
    has_package = importlib.util.find_spec(PACKAGE) is not None
    for one in manifests.objects:
        kind = f"{one.get('apiVersion')} {one.get('kind')}"
        if kind in defined:
            reasons = against(one, defined[kind])
        elif not _is_built_in(str(one.get("apiVersion"))):
            unknown.add(kind)
            continue
        elif has_package:
            reasons = _against_kubernetes(one)
        else:
            continue
        for reason in reasons:
            advice = "The API server refuses it: compare with `kubectl explain`."
            yield problem(CHECK, f"{title(one)}: {reason}", advice)
    if not has_package:
        advice = "pip install kubernetes-validate"
        yield note(CHECK, "fields of Kubernetes' own kinds were not compared with their schema", advice)
    for kind in sorted(unknown):
        advice = "kubectl apply --dry-run=server compares them in a cluster."
        yield note(CHECK, f"{kind}: its fields were not checked, for want of its definition", advice)


@lru_cache(maxsize=4)
def definitions(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Schemas by "apiVersion kind" of a folder's CustomResourceDefinitions, made to refuse unknown fields."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted(folder.glob("*.yaml")):
        definition = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)
        spec = definition["spec"]
        for version in spec["versions"]:
            kind = f"{spec['group']}/{version['name']} {spec['names']['kind']}"
            found[kind] = _strict(version["schema"]["openAPIV3Schema"])
    return found


def against(one: Object, schema: Mapping[str, Any]) -> Iterator[str]:
    """What an object breaks of a schema."""
    for error in jsonschema.Draft202012Validator(schema).iter_errors(one):
        place = ".".join(str(part) for part in error.absolute_path)
        yield f"{place or 'the object'}: {error.message[:200]}"


def _is_built_in(api_version: str) -> bool:
    group = api_version.rpartition("/")[0]
    return "." not in group or group.removesuffix(".k8s.io") in _GROUPS


def _against_kubernetes(one: Object) -> Iterator[str]:
    import kubernetes_validate

    try:
        kubernetes_validate.validate(one, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        place = ".".join(str(part) for part in error.path)
        yield f"{place or 'the object'}: {error.message[:200]}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"there is no kind {one.get('kind')} in {one.get('apiVersion')} of Kubernetes {KUBERNETES_VERSION}"


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of the API server's dialect in JSON Schema's, refusing unknown fields as it does under strict checks."""
    found = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    # Formats such as int32 are the API server's own.
    found.pop("format", None)
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        return found
    if found.pop("nullable", False) and "type" in found:
        found["type"] = [found["type"], "null"]
    if "properties" in schema:
        found["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if "additionalProperties" not in schema and not any(schema.get(mark) for mark in _FREE):
            # What every object has is checked by the API server itself.
            found["additionalProperties"] = False
    if isinstance(schema.get("items"), Mapping):
        found["items"] = _strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), Mapping):
        found["additionalProperties"] = _strict(schema["additionalProperties"])
    return found
