"""Pictures from scenes: uint8 [N, 128, 128, 3], the same bytes for the same scene and seed in any company."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

import numpy as np

from world import filters
from world.backgrounds import VARIANTS, background
from world.captions import canonical
from world.filters import PIXEL_BLOCK, apply_style, lower_quality
from world.glyphs import cut_out
from world.imaging import SIZE
from world.scene import Scene

GRID = 8
"""Objects start at multiples of this many pixels, the cells of the autoencoder.

In rows of three they cannot; the small ones start at whole blocks of the pixel style there.
"""

# Sides of objects in pixels, by their number; 64 in two rows, so that fewer scales of a pictogram are to be learnt.
_SIDES = {
    1: {"small": 64, "large": 88},
    2: {"small": 48, "large": 64},
    3: {"small": 36, "large": 42},
}


def _single_corner(layout: str, size: int) -> tuple[int, int]:
    """Top left corner (x, y) of a lone object."""
    room = SIZE - size
    near, far = (0, room) if size > SIZE // 2 else (GRID, room - GRID)
    middle = room // 2 // GRID * GRID
    return {
        "center": (middle, middle),
        "left": (near, middle),
        "right": (far, middle),
        "top": (middle, near),
        "bottom": (middle, far),
    }[layout]


def _row_corners(layout: str, sizes: list[int]) -> list[tuple[int, int]]:
    """Top left corners of objects in a row or column, each in the middle of its share of the picture."""
    corners = []
    for slot, size in enumerate(sizes):
        along = slot * SIZE // len(sizes) + (SIZE // len(sizes) - size) // 2
        if size % PIXEL_BLOCK == 0:
            along = round(along / PIXEL_BLOCK) * PIXEL_BLOCK
        across = (SIZE - size) // 2 // GRID * GRID
        corners.append((along, across) if layout == "left_of" else (across, along))
    return corners


def _compose(scene: Scene, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """The unstyled picture [128, 128, 3] and the coverage of its objects [128, 128]."""
    image = background(scene.background, rng.randrange(VARIANTS)).copy()
    mask = np.zeros((SIZE, SIZE), np.float32)
    sizes = [_SIDES[len(scene.objects)][item.size] for item in scene.objects]
    is_single = len(sizes) == 1
    corners = [_single_corner(scene.layout, sizes[0])] if is_single else _row_corners(scene.layout, sizes)
    for item, size, (x, y) in zip(scene.objects, sizes, corners, strict=True):
        piece = cut_out(item.kind, item.colour, size)
        window = image[y : y + size, x : x + size]
        window *= 1 - piece[..., 3:]
        window += piece[..., :3]
        mask[y : y + size, x : x + size] = piece[..., 3]
    return image, mask


def render_one(scene: Scene, seed: int) -> np.ndarray:
    """One picture, uint8 [128, 128, 3]."""
    rng = random.Random(seed * 0x1_0000_0000 + zlib.crc32(canonical(scene).encode()))
    image, mask = _compose(scene, rng)
    image = apply_style(image, mask, scene.style, rng.randrange(filters.VARIANTS))
    if scene.quality == "low":
        image = lower_quality(image)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def render(scenes: Sequence[Scene], seed: int) -> np.ndarray:
    """One picture per scene, uint8 [N, 128, 128, 3], all with the same seed."""
    if not scenes:
        return np.zeros((0, SIZE, SIZE, 3), np.uint8)
    return np.stack([render_one(scene, seed) for scene in scenes])
