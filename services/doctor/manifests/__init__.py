"""Checks of Kubernetes manifests, for `likeness doctor --k8s`, `make k8s` and the tests alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from likeness.doctor.findings import Finding, State, ok, problem
from services.doctor.manifests.backends import backends
from services.doctor.manifests.environment import settings, stores
from services.doctor.manifests.gpus import gpus
from services.doctor.manifests.model import Manifests
from services.doctor.manifests.pods import images, probes, resources, security
from services.doctor.manifests.ports import network, ports
from services.doctor.manifests.reading import UnreadableError, duplicates, read
from services.doctor.manifests.references import references, selectors
from services.doctor.manifests.shapes import shapes

__all__ = ["CHECKS", "examine", "examine_folder"]

Check = Callable[[Manifests], Iterator[Finding]]

CHECKS: dict[str, tuple[Check, str]] = {
    "manifests": (duplicates, "every object is there once"),
    "schema": (shapes, "objects have the fields that the API server knows"),
    "references": (references, "ConfigMaps, Secrets, accounts and volumes that pods name are there"),
    "selectors": (selectors, "every selector selects something"),
    "settings": (settings, "every setting exists and can be read, none holds a password"),
    "stores": (stores, "gateways have PostgreSQL, Redis and a place for pictures"),
    "backends": (backends, "Ray Serve runs what the gateway asks for, where it asks"),
    "ports": (ports, "ports of services, probes and settings agree"),
    "network": (network, "only the gateway reaches Ray Serve's proxy, and not everybody the metrics"),
    "gpu": (gpus, "GPUs are asked for where they are used, by type"),
    "images": (images, "images are fixed versions"),
    "security": (security, "pods hold the restricted Pod Security Standard"),
    "resources": (resources, "every container has requests and limits"),
    "probes": (probes, "every pod says whether it serves"),
}
"""By name of the check: what looks, and what is said where all is well."""


def examine(manifests: Manifests) -> Iterator[Finding]:
    """Everything about a deployment's manifests. Objects that break their schema end it: what follows relies on it."""
    for name, (check, well) in CHECKS.items():
        try:
            found = _together(check(manifests))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # Only where the schemas are not installed; else they have said it better.
            message = f"an object lacks what this check looks at, or has it in another form: {error!r}"
            yield problem(name, message, "pip install kubernetes-validate: then the object is named.")
            continue
        yield from found
        if not any(one.check == name and one.state in (State.PROBLEM, State.WARNING) for one in found):
            yield ok(name, well)
        if name == "schema" and any(one.state is State.PROBLEM for one in found):
            return


def examine_folder(folder: Path) -> Iterator[Finding]:
    """The same for a folder, an overlay or a file; what cannot be read is the only finding then."""
    try:
        manifests = read(folder)
    except UnreadableError as error:
        yield error.finding
        return
    yield from examine(manifests)


def _together(found: Iterator[Finding]) -> list[Finding]:
    """One finding for what is the same in many places, as all of it is that comes from one ConfigMap."""
    places: dict[Finding, list[str]] = {}
    for one in found:
        where, _, what = one.message.partition(": ")
        places.setdefault(replace(one, message=what), []).append(where)
    together = []
    for one, several in places.items():
        first, *others = dict.fromkeys(several)
        more = f" and {len(others)} more" if others else ""
        message = f"{first}{more}: {one.message}" if one.message else first
        together.append(replace(one, message=message))
    return together
