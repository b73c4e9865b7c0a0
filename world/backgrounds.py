"""The drawn backgrounds: calm pictures, each in a few fixed variants."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from world.imaging import SIZE, X, Y, blend, colour

VARIANTS = 4
"""Every background exists in this many versions (wave phase, star places, shade)."""

_DOWN = Y / SIZE
_DISC = np.array([[0.4, 1, 1, 0.4], [1, 1, 1, 1], [1, 1, 1, 1], [0.4, 1, 1, 0.4]], np.float32)[..., None]


def _dots(image: np.ndarray, rng: np.random.Generator, count: int, rows: tuple[int, int], colours: tuple) -> None:
    """Paint ``count`` discs of 4 x 4 pixels on multiples of 4 between the rows."""
    for _ in range(count):
        x = 4 * int(rng.integers(1, SIZE // 4 - 1))
        y = 4 * int(rng.integers(rows[0] // 4, rows[1] // 4))
        place = image[y : y + 4, x : x + 4]
        place += _DISC * (colour(*colours[int(rng.integers(len(colours)))]) - place)


def _hill(base: float, height: float, length: float, phase: float) -> np.ndarray:
    """Coverage [128, 128] of everything below a wavy horizon; all in pixels."""
    return Y - (base + height * np.sin(X / length + phase)) + 0.5


def _meadow(rng: np.random.Generator) -> np.ndarray:
    image = blend(_DOWN * 1.3, colour(0.45, 0.72, 0.98), colour(0.85, 0.94, 1.0))
    grass = blend(_DOWN, colour(0.66, 0.88, 0.40), colour(0.24, 0.58, 0.18))
    image = blend(_hill(80, 5, 24, rng.uniform(0, 6)), image, grass)
    _dots(image, rng, 6, (100, 124), ((1.0, 1.0, 0.9), (1.0, 0.9, 0.3)))
    return image


def _sunset(rng: np.random.Generator) -> np.ndarray:
    upper = blend(_DOWN / 0.55, colour(0.40, 0.20, 0.58), colour(0.94, 0.50, 0.40))
    lower = blend((_DOWN - 0.55) / 0.45, colour(0.94, 0.50, 0.40), colour(1.0, 0.78, 0.32))
    image = np.where((_DOWN > 0.55)[..., None], lower, upper)
    return blend(_hill(110, 4, 20, rng.uniform(0, 6)), image, colour(0.20, 0.10, 0.24))


def _night(rng: np.random.Generator) -> np.ndarray:
    image = blend(_DOWN, colour(0.04, 0.05, 0.17), colour(0.14, 0.15, 0.38))
    _dots(image, rng, 16, (4, 124), ((1.0, 1.0, 0.85), (0.75, 0.80, 0.95)))
    return image


def _snow(rng: np.random.Generator) -> np.ndarray:
    image = blend(_DOWN, colour(0.58, 0.72, 0.88), colour(0.80, 0.89, 0.97))
    image = blend(_hill(86, 6, 30, rng.uniform(0, 6)), image, colour(0.97, 0.98, 1.0))
    _dots(image, rng, 14, (4, 80), ((1.0, 1.0, 1.0),))
    return image


def _sea(rng: np.random.Generator) -> np.ndarray:
    sky = blend(_DOWN * 1.8, colour(0.66, 0.87, 0.98), colour(0.92, 0.97, 1.0))
    water = blend((_DOWN - 0.4) / 0.6, colour(0.18, 0.60, 0.80), colour(0.06, 0.32, 0.64))
    crests = np.sin((Y - 52) / 4.2 + 1.2 * np.sin(X / 8.0 + rng.uniform(0, 6)))
    water = blend((crests - 0.72) * 5 + 0.5, water, water * 0.65 + 0.35)
    return blend(_hill(52, 0, 1, 0), sky, water)


def _desert(rng: np.random.Generator) -> np.ndarray:
    phase = rng.uniform(0, 6)
    image = blend(_DOWN * 1.4, colour(0.99, 0.88, 0.62), colour(1.0, 0.96, 0.85))
    image = blend(_hill(72, 8, 22, phase), image, colour(0.93, 0.70, 0.38))
    return blend(_hill(98, 8, 22, phase + 2.4), image, colour(0.82, 0.55, 0.27))


def _paper(rng: np.random.Generator) -> np.ndarray:
    del rng
    return np.broadcast_to(colour(0.97, 0.94, 0.85), (SIZE, SIZE, 3)).copy()


def _room(rng: np.random.Generator) -> np.ndarray:
    wall = (colour(0.88, 0.73, 0.71), colour(0.75, 0.82, 0.74))[int(rng.integers(2))]
    stripes = ((X // 16) % 2)[..., None]
    floor_top = 92
    planks = np.where(((Y - floor_top) // 12 % 2 > 0)[..., None], 0.86, 1.0)
    image = blend(_hill(floor_top, 0, 1, 0), wall * (1 - 0.07 * stripes), colour(0.66, 0.42, 0.24) * planks)
    skirting = ((floor_top - 4 < Y) & (floor_top > Y)).astype(np.float32)
    return blend(skirting, image, colour(0.97, 0.96, 0.93))


_PAINTERS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "meadow": _meadow,
    "sunset": _sunset,
    "night": _night,
    "snow": _snow,
    "sea": _sea,
    "desert": _desert,
    "paper": _paper,
    "room": _room,
}


@cache
def background(name: str, variant: int) -> np.ndarray:
    """The background as a read-only float32 [128, 128, 3] in 0..1."""
    rng = np.random.default_rng(variant)
    image = np.clip(_PAINTERS[name](rng) * rng.uniform(0.97, 1.03), 0, 1).astype(np.float32)
    image.flags.writeable = False
    return image
