"""Simulated raters with known tastes, and drawn pictures in whose attributes these tastes show.

A target is a scene with colors in it; a candidate is the target with each attribute changed by itself, or not. A rater
sees how much of each attribute differs (0..1), weighs the attributes by taste, errs by a normal noise, and ranks. The
true differences come from the scene graphs; no picture and no network takes part in them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from world import vocabulary as v
from world.draw import render_one
from world.scene import MOST_OBJECTS, Scene, SceneObject
from world.variations import ATTRIBUTES, differences, varied

FIRST = ("color", "shape", "style", "layout")
"""Attributes that a rater can put first."""
NOISES = (0.1, 0.2, 0.3)
"""Of ratings, as a share of the standard deviation of the rater's own distances."""
TASTES = {"strong": (0.0, 0.2), "mild": (0.1, 0.4)}
"""Range of the weights of the attributes that a rater does not put first. The first one has 1: where tastes are strong
the others together never outvote it, where they are mild they often do."""
CHANGE = 0.5
"""Chance that an attribute of a candidate is not the target's."""

STYLES = tuple(style.name for style in v.STYLES if style.coloured)
KINDS = tuple(kind.name for kind in v.KINDS if kind.tintable)
"""Only these kinds and styles show any color, so that every attribute can change by itself."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rater:
    """A person with a taste."""

    index: int
    tastes: str
    """One of TASTES."""
    first: str
    """Attribute that counts most, one of FIRST."""
    weights: tuple[float, ...]
    """Of ATTRIBUTES."""
    noise: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """What a rater was shown for one target, and the order given."""

    target: NDArray[np.uint8]
    """[side, side, 3]"""
    candidates: NDArray[np.uint8]
    """[pictures, side, side, 3]"""
    places: tuple[float, ...]
    """1 is most similar."""
    faithful: tuple[float, ...]
    """Places that the rater would give without noise."""


def people(count: int, tastes: str, seed: int) -> list[Rater]:
    """People whose first attributes and noises are spread evenly, and whose other weights are drawn."""
    made = []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        first = index % len(FIRST)
        weights = rng.uniform(*TASTES[tastes], len(ATTRIBUTES))
        weights[ATTRIBUTES.index(FIRST[first])] = 1.0
        noise = NOISES[index // len(FIRST) % len(NOISES)]
        made.append(Rater(index, tastes, FIRST[first], tuple(weights.tolist()), noise))
    return made


def rank(rater: Rater, count: int, pictures: int, seed: int) -> list[Ranking]:
    """`count` targets of the rater's own, each with `pictures` candidates, ranked."""
    found = []
    for index in range(count):
        # A string as seed, because random.Random takes no tuple; equal on every machine.
        rng = random.Random(f"{seed}-{rater.tastes}-{rater.index}-{index}")
        target = _target(rng)
        candidates = [varied(target, rng, CHANGE, KINDS, STYLES) for _ in range(pictures)]
        distances = np.array([differences(target, one) for one in candidates]) @ np.array(rater.weights)
        noises = np.array([rng.gauss(0, 1) for _ in candidates]) * rater.noise * distances.std()
        found.append(
            Ranking(
                target=render_one(target, rng.getrandbits(24)),
                candidates=np.stack([render_one(one, rng.getrandbits(24)) for one in candidates]),
                places=_places(distances + noises),
                faithful=_places(distances),
            )
        )
    return found


def _target(rng: random.Random) -> Scene:
    kinds = rng.sample(KINDS, rng.randint(1, MOST_OBJECTS))
    return Scene(
        objects=tuple(SceneObject(kind, rng.choice(v.SIZE_NAMES), rng.choice(v.COLOUR_NAMES)) for kind in kinds),
        layout=rng.choice(v.POSITION_NAMES if len(kinds) == 1 else v.RELATION_NAMES),
        background=rng.choice(v.BACKGROUND_NAMES),
        style=rng.choice(STYLES),
        quality="high",
    )


def _places(distances: Array) -> tuple[float, ...]:
    # Sums of equal terms in another order are ties too.
    _, places = np.unique(distances.round(9), return_inverse=True)
    return tuple((places + 1.0).tolist())
