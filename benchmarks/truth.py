"""Held-out targets with their scene graphs, and how much of a scene graph a prompt recovers."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.scene_prompt import ScenePrompt
from services.refiner.vocabulary import read_vocabulary
from world import export_vocabulary
from world.captions import canonical
from world.draw import render
from world.scene import Scene, sample_scene

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


def attributes_recovered(prompt: str, scene: Scene) -> float:
    """Share of the scene's attributes that the prompt names rightly, 0..1; synonyms count.

    The scene's canonical caption is read by the same parser, so both sides speak one vocabulary, the world's. Only
    attributes that the scene defines count: a single object has no second kind to miss.
    """
    truth, said = (_attributes(_parser().parse(text).scene) for text in (canonical(scene), prompt))
    return sum(said.get(name) == value for name, value in truth.items()) / len(truth)


@lru_cache(maxsize=1)
def _parser() -> PromptParser:
    return PromptParser(read_vocabulary(export_vocabulary.content()))


def _attributes(scene: ScenePrompt) -> dict[str, str]:
    """What a prompt says, by attribute; what it does not say is absent."""
    values: dict[str, str | None] = {
        "count": str(len(scene.objects)),
        "layout": scene.relation or scene.position,
        "background": scene.background,
        "style": scene.style,
        "quality": scene.quality,
    }
    for number, item in enumerate(scene.objects):
        values |= {f"kind{number}": item.kind, f"size{number}": item.size, f"color{number}": item.color}
    return {name: value for name, value in values.items() if value is not None}
