"""Colors as prompts ("rgb 10 20 30"), pictures of them with the noise of a seed, and how alike two pictures are."""

from __future__ import annotations

import io
import random
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.common.images import decode

SIDE_PIXELS = 32
NOISE = 24
"""Largest deviation of a pixel from its color, of 255."""

Color = tuple[int, int, int]
Pixels = NDArray[np.float32]


def color_of(prompt: str) -> Color:
    """The color that a prompt names; a fixed one for any other text."""
    words = prompt.split()
    if words[:1] == ["rgb"] and len(words) >= 4 and all(word.isdecimal() for word in words[1:4]):
        return _clipped(int(words[1]), int(words[2]), int(words[3]))
    noise = random.Random(zlib.crc32(prompt.encode()))
    return noise.randint(0, 255), noise.randint(0, 255), noise.randint(0, 255)


def prompt_of(color: Color) -> str:
    """The prompt that names a color."""
    return "rgb {} {} {}".format(*_clipped(*color))


def moved(color: Color, by: Color) -> Color:
    """A color, each channel moved by so much."""
    return _clipped(color[0] + by[0], color[1] + by[1], color[2] + by[2])


def paint(prompt: str, seed: int, width: int = SIDE_PIXELS, height: int = SIDE_PIXELS) -> bytes:
    """PNG of a prompt's color with the noise of a seed: the same bytes for the same arguments."""
    noise = np.random.default_rng(seed).integers(-NOISE, NOISE, (height, width, 3), endpoint=True)
    pixels = np.clip(noise + np.array(color_of(prompt)), 0, 255).astype(np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def encoded(picture: Image.Image, kind: str) -> bytes:
    """Bytes of a picture in a format of Pillow's."""
    out = io.BytesIO()
    # Little compression: what is painted is noise, and many are painted.
    picture.save(out, kind, **({"compress_level": 1} if kind == "PNG" else {}))
    return out.getvalue()


def pixels_of(data: bytes, field: str) -> Pixels:
    """Pixels [SIDE, SIDE, 3] of a picture, 0..1; ImageError, blamed on `field`, if it is none."""
    rgb = decode(data, field=field).rgb.resize((SIDE_PIXELS, SIDE_PIXELS))
    return np.asarray(rgb, dtype=np.float32) / np.float32(255)


def mean_of(pixels: Pixels) -> Pixels:
    """Mean color [3], 0..1."""
    mean: Pixels = pixels.mean(axis=(0, 1), dtype=np.float32)
    return mean


def likeness(one: Pixels, other: Pixels) -> float:
    """1 less the mean absolute difference; 0..1."""
    return float(1.0 - np.abs(one - other).mean())


def _clipped(red: int, green: int, blue: int) -> Color:
    return max(0, min(255, red)), max(0, min(255, green)), max(0, min(255, blue))
