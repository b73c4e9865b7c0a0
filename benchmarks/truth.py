"""Held-out targets with their scene graphs, and how much of a scene graph a prompt recovers."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass

from PIL import Image

from world.captions import canonical, parse
from world.draw import render
from world.scene import Scene, attribute_indices, sample_scene

_SEED = 20_261_121
"""Far from every seed of the training data, so that no target was trained on."""


@dataclass(frozen=True)
class Target:
    """A drawing and its truth. `split` is "seen" (combinations that training showed) or "held_out"."""

    index: int
    split: str
    scene: Scene
    png: bytes

    @property
    def caption(self) -> str:
        """Canonical caption of the truth."""
        return canonical(self.scene)


def targets(count: int) -> list[Target]:
    """`count` fresh drawings, half of them of attribute combinations that were held out from training."""
    rng = random.Random(_SEED)
    drawn = []
    for index in range(count):
        split = "seen" if index % 2 == 0 else "held_out"
        scene = sample_scene(rng, "train" if split == "seen" else "held_out")
        pixels = render([scene], _SEED + index)[0]
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        drawn.append(Target(index, split, scene, out.getvalue()))
    return drawn


def attributes_recovered(prompt: str, scene: Scene) -> float | None:
    """Share of the scene's attributes that the prompt names rightly, 0..1; None if the prompt is not understood.

    Only attributes that the scene defines count, so a single object has no second kind to miss.
    """
    said = parse(prompt)
    if said is None:
        return None
    pairs = list(zip(attribute_indices(scene), attribute_indices(said), strict=True))
    defined = [(truth, claim) for truth, claim in pairs if truth >= 0]
    return sum(truth == claim for truth, claim in defined) / len(defined)
