"""Scenes that differ from a scene in some attributes, and by how much."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from world import vocabulary as v
from world.scene import Scene, SceneObject

ATTRIBUTES = ("color", "shape", "style", "layout", "background", "size")
"""What can vary. Shape is the objects' kinds; layout is where they are."""


def varied(
    scene: Scene,
    rng: random.Random,
    change: float,
    kinds: Sequence[str] = v.KIND_NAMES,
    styles: Sequence[str] = v.STYLE_NAMES,
) -> Scene:
    """The scene with each attribute of each object and of the whole changed by itself with the chance `change`.

    Other kinds and styles are taken from those given, more kinds than the scene has objects. Colors follow their rule:
    only tintable kinds in styles with colors have one. The number of objects and the quality stay.
    """

    def other(value: str, values: Sequence[str]) -> str:
        return rng.choice([one for one in values if one != value]) if rng.random() < change else value

    style = other(scene.style, styles)
    taken = {item.kind for item in scene.objects}
    objects = []
    for item in scene.objects:
        taken.remove(item.kind)
        kind = other(item.kind, [one for one in kinds if one not in taken])
        taken.add(kind)
        colour = other(item.colour or rng.choice(v.COLOUR_NAMES), v.COLOUR_NAMES)
        is_colored = v.KIND_BY_NAME[kind].tintable and style in v.COLOURED_STYLES
        objects.append(SceneObject(kind, other(item.size, v.SIZE_NAMES), colour if is_colored else None))
    layouts = v.POSITION_NAMES if len(objects) == 1 else v.RELATION_NAMES
    return replace(
        scene,
        objects=tuple(objects),
        layout=other(scene.layout, layouts),
        background=other(scene.background, v.BACKGROUND_NAMES),
        style=style,
    )


def differences(scene: Scene, other: Scene) -> tuple[float, ...]:
    """How much of each of ATTRIBUTES differs, each 0..1, for scenes of equally many objects."""
    pairs = list(zip(scene.objects, other.objects, strict=True))
    found = {
        "color": sum(a.colour != b.colour for a, b in pairs) / len(pairs),
        "shape": sum(a.kind != b.kind for a, b in pairs) / len(pairs),
        "size": sum(a.size != b.size for a, b in pairs) / len(pairs),
        "style": scene.style != other.style,
        "layout": scene.layout != other.layout,
        "background": scene.background != other.background,
    }
    return tuple(float(found[name]) for name in ATTRIBUTES)
