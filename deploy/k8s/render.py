"""`make k8s`: renders every overlay into deploy/k8s/rendered, checks it, and says what it makes. Asks no cluster.

Without kubectl and kustomize the renders that are in the repository are checked instead.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.k8s.summary import summary
from services.doctor.manifests import examine
from services.doctor.manifests.model import Manifests
from services.doctor.manifests.reading import UnreadableError, can_render, parse, render

FOLDER = Path(__file__).parent
OVERLAYS = tuple(sorted(path.name for path in (FOLDER / "overlays").iterdir() if path.is_dir()))


def rendered(overlay: str) -> Path:
    """Where the render of an overlay is kept."""
    return FOLDER / "rendered" / f"{overlay}.yaml"


def load(overlay: str) -> Manifests:
    """An overlay as it is kept."""
    file = rendered(overlay)
    return Manifests(tuple(parse(file.read_text(encoding="utf-8"), file.name)))


def main() -> int:
    """Entry point; returns 1 if an overlay cannot be rendered or has a problem."""
    problems = 0
    if not can_render():
        print("kubectl and kustomize are not installed: the renders in the repository are checked as they are.")
    for overlay in OVERLAYS:
        print(f"\n== {overlay} -> {rendered(overlay).relative_to(FOLDER.parents[1])}")
        try:
            if can_render():
                rendered(overlay).write_text(render(FOLDER / "overlays" / overlay), encoding="utf-8")
            manifests = load(overlay)
        except UnreadableError as error:
            print(f"  problem: {error}\n    {error.finding.advice}")
            problems += 1
            continue
        for line in summary(overlay, manifests):
            print(line)
        found = list(examine(manifests))
        for one in found:
            if one.state != "ok":
                print(f"  {one.state}: {one.message}")
                print(f"    {one.advice}")
        wrong = sum(one.state == "problem" for one in found)
        print(f"  {sum(one.state == 'ok' for one in found)} checks passed, {wrong} problems")
        problems += wrong
    print("\nWhat each value means: deploy/k8s/README.md. Your own copy of an overlay: likeness doctor --k8s DIR")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
