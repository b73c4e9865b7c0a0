"""Scene graphs: what is to be drawn, as values, and how to sample them with a split into seen and held-out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from world import vocabulary as v

Split = Literal["train", "held_out", "any"]

MOST_OBJECTS = 3
"""A scene has one to this many objects."""


@dataclass(frozen=True)
class SceneObject:
    """One object; ``colour`` is None for kinds that are not tintable and in styles without colours."""

    kind: str
    size: str
    colour: str | None = None


@dataclass(frozen=True)
class Scene:
    """One to three objects on a background, in a style and a quality.

    ``layout`` is a position ("center", ...) for one object, or a relation ("left_of", "above") that each object
    has to the next.
    """

    objects: tuple[SceneObject, ...]
    layout: str
    background: str
    style: str
    quality: str

    def __post_init__(self) -> None:
        allowed = v.POSITION_NAMES if len(self.objects) == 1 else v.RELATION_NAMES
        if not 1 <= len(self.objects) <= MOST_OBJECTS or self.layout not in allowed:
            raise ValueError(f"{len(self.objects)} objects cannot have the layout {self.layout!r}")


ATTRIBUTE_SIZES: dict[str, int] = {
    "count": MOST_OBJECTS,
    "layout": len(v.LAYOUTS),
    "kind1": len(v.KINDS),
    "size1": len(v.SIZES),
    "colour1": len(v.COLOURS),
    "kind2": len(v.KINDS),
    "size2": len(v.SIZES),
    "colour2": len(v.COLOURS),
    "kind3": len(v.KINDS),
    "size3": len(v.SIZES),
    "colour3": len(v.COLOURS),
    "background": len(v.BACKGROUNDS),
    "style": len(v.STYLES),
    "quality": len(v.QUALITIES),
}
"""Attributes of a scene in the order of :func:`attribute_indices`, with the number of values of each."""

ATTRIBUTES: tuple[str, ...] = tuple(ATTRIBUTE_SIZES)

_COUNT_SHARES = (0.4, 0.4, 0.2)  # of scenes with one, two and three objects
_HIGH_QUALITY_SHARE = 0.8


def attribute_indices(scene: Scene) -> tuple[int, ...]:
    """The scene as class indices, one per name of ``ATTRIBUTES``; -1 where the attribute is undefined."""
    indices = [len(scene.objects) - 1, v.LAYOUTS.index(scene.layout)]
    for slot in range(MOST_OBJECTS):
        if slot < len(scene.objects):
            item = scene.objects[slot]
            colour = -1 if item.colour is None else v.COLOUR_NAMES.index(item.colour)
            indices += [v.KIND_NAMES.index(item.kind), v.SIZE_NAMES.index(item.size), colour]
        else:
            indices += [-1, -1, -1]
    indices.append(v.BACKGROUND_NAMES.index(scene.background))
    indices.append(v.STYLE_NAMES.index(scene.style))
    indices.append(v.QUALITY_NAMES.index(scene.quality))
    return tuple(indices)


def is_held_out(scene: Scene) -> bool:
    """Whether the scene contains a combination that training never shows."""
    return any((item.kind, scene.background, scene.style) in v.HELD_OUT for item in scene.objects)


def _sample_object(rng: random.Random, kind: str, style: str) -> SceneObject:
    colour = None
    if v.KIND_BY_NAME[kind].tintable and style in v.COLOURED_STYLES:
        colour = rng.choice(v.COLOUR_NAMES)
    return SceneObject(kind=kind, size=rng.choice(v.SIZE_NAMES), colour=colour)


def sample_scene(rng: random.Random, split: Split = "train") -> Scene:
    """A random scene of the split; its objects are never of the same kind."""
    while True:
        count = rng.choices(range(1, MOST_OBJECTS + 1), _COUNT_SHARES)[0]
        style = rng.choice(v.STYLE_NAMES)
        kinds = rng.sample(v.KIND_NAMES, count)
        scene = Scene(
            objects=tuple(_sample_object(rng, kind, style) for kind in kinds),
            layout=rng.choice(v.POSITION_NAMES if count == 1 else v.RELATION_NAMES),
            background=rng.choice(v.BACKGROUND_NAMES),
            style=style,
            quality="high" if rng.random() < _HIGH_QUALITY_SHARE else "low",
        )
        if split == "any" or is_held_out(scene) == (split == "held_out"):
            return scene
