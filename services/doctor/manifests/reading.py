"""Reads a folder of manifests: a kustomize overlay is rendered first, any other folder is taken as it is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from likeness.doctor.findings import Finding, problem
from services.doctor.manifests.model import Manifests, Object, title

CHECK = "manifests"
NODES = "nodes.yaml"
"""What `kubectl get nodes -o yaml` says, where somebody has put it beside the manifests."""
RENDER_SECONDS = 60.0

_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnreadableError(Exception):
    """A folder that cannot be looked at; carries the finding that says why."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.finding = problem(CHECK, message, advice)


def read(folder: Path) -> Manifests:
    """The manifests of a folder or of one file.

    Raises:
        UnreadableError: nothing is there, kubectl is needed and absent, or something is no manifest.
    """
    if not folder.exists():
        raise UnreadableError(f"{folder} does not exist", "Name a folder of manifests, or a kustomize overlay.")
    nodes = [one for one in _nodes(folder / NODES) if one.get("kind") == "Node"]
    if folder.is_dir() and any((folder / name).is_file() for name in _KUSTOMIZATIONS):
        objects = list(parse(render(folder), f"the render of {folder.name}"))
    else:
        files = [folder] if folder.is_file() else sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")])
        texts = [(file, file.read_text(encoding="utf-8")) for file in files if file.name != NODES]
        objects = [one for file, text in texts for one in parse(text, file.name)]
    if not objects:
        raise UnreadableError(f"there is no manifest in {folder}", "Name a folder with .yaml files, or an overlay.")
    return Manifests(tuple(objects), tuple(nodes))


def can_render() -> bool:
    """Whether this machine has kubectl or kustomize."""
    return _renderer() is not None


def render(overlay: Path) -> str:
    """What kustomize makes of an overlay.

    Raises:
        UnreadableError: neither kubectl nor kustomize is installed, or the overlay has a mistake; says which.
    """
    command = _renderer()
    if command is None:
        advice = "Install kubectl, or render it elsewhere (`kubectl kustomize DIR > all.yaml`) and name that file."
        raise UnreadableError(f"{overlay} is a kustomize overlay, and kubectl is not installed here", advice)
    try:
        done = subprocess.run(
            [*command, str(overlay)], capture_output=True, text=True, check=False, timeout=RENDER_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        advice = "It may read bases from the network: copy them here."
        raise UnreadableError(f"kustomize took over {RENDER_SECONDS:.0f} s", advice) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UnreadableError(f"kustomize cannot render {overlay.name}: {lines[-1]}", "Mend what it names.")
    return done.stdout


def parse(text: str, source: str) -> Iterator[Object]:
    """Objects of YAML documents, those of Lists one by one.

    Raises:
        UnreadableError: it is no YAML, or a document is no object.
    """
    try:
        documents = [one for one in yaml.load_all(text, Loader=_LOADER) if one is not None]
    except yaml.YAMLError as error:
        said = str(error).replace("\n", " ")
        raise UnreadableError(f"{source} is no YAML: {said}", "Mend the file at that line.") from error
    for one in documents:
        if not isinstance(one, dict) or "kind" not in one:
            advice = "Every document needs apiVersion, kind and metadata; keep other files elsewhere."
            raise UnreadableError(f"{source} holds something that is no Kubernetes object", advice)
        if one["kind"] == "List":
            yield from one.get("items") or ()
        else:
            yield one


def duplicates(manifests: Manifests) -> Iterator[Finding]:
    """Objects that are there twice: the second replaces the first."""
    seen: set[tuple[str, str]] = set()
    for one in manifests.objects:
        key = (title(one), str((one.get("metadata") or {}).get("namespace")))
        if key in seen:
            yield problem(CHECK, f"{title(one)} is there twice", "Remove one, or name a single overlay.")
        seen.add(key)


def _nodes(file: Path) -> Iterator[Object]:
    if file.is_file():
        yield from parse(file.read_text(encoding="utf-8"), file.name)


def _renderer() -> list[str] | None:
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    kustomize = shutil.which("kustomize")
    return [kustomize, "build"] if kustomize else None
