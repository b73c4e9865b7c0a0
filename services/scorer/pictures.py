"""Pictures as metrics see them: decoded once, each size made once, shared work done once.

The rule for metrics of a pixel pair: the target decides the size. A target of more than 1,048,576 pixels is reduced to
that many; a side below the metric's smallest is stretched to it and one above 8,192 shortened to it. Every candidate
of another size is resized to the same. Resizing is Pillow's bicubic filter, antialiased when it reduces. A picture that
has the size already is taken as it is, so equal sizes up to 1024 x 1024 are compared pixel by pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_COMPARED_PIXELS = 1024 * 1024
MAX_COMPARED_SIDE_PIXELS = 8192
PAIR_PREPROCESSING = "rgb8-bicubic-to-target-1mp-1"
"""Name of the rule above; it changes whenever the rule does."""

Size = tuple[int, int]
Result = TypeVar("Result")


class Picture:
    """A normalized RGB picture with what was made of it, on demand. Belongs to one request and one thread."""

    def __init__(self, rgb: Image.Image, pixel_hash: str) -> None:
        self.rgb = rgb
        self.pixel_hash = pixel_hash
        self.made: dict[Hashable, Any] = {}
        """By a key of whoever made it; `made_once` fills it."""

    @property
    def size(self) -> Size:
        """Width and height in pixels."""
        return self.rgb.size

    def array(self, size: Size, resample: Image.Resampling = Image.Resampling.BICUBIC) -> NDArray[np.uint8]:
        """Pixels [H, W, 3] at (width, height); shared, so never write to it."""

        def resized(_: Sequence[Picture]) -> list[NDArray[np.uint8]]:
            return [np.asarray(self.rgb if size == self.rgb.size else self.rgb.resize(size, resample))]

        return made_once(("array", size, resample), [self], resized)[0]


def made_once(
    key: Hashable, pictures: Sequence[Picture], make: Callable[[Sequence[Picture]], Sequence[Result]]
) -> list[Result]:
    """What `make` gives for each picture, in one call for all that lack it: metrics that share a pass share its key."""
    missing = [picture for picture in pictures if key not in picture.made]
    if missing:
        for picture, result in zip(missing, make(missing), strict=True):
            picture.made[key] = result
    return [picture.made[key] for picture in pictures]


def compared_size(target: Size, min_side_pixels: int) -> Size:
    """Size (width, height) at which a pair with this target is compared, by the rule of this module."""
    width, height = target
    scale = min(1.0, math.sqrt(MAX_COMPARED_PIXELS / (width * height)))
    return _side(width * scale, min_side_pixels), _side(height * scale, min_side_pixels)


def _side(length: float, min_side_pixels: int) -> int:
    return min(max(round(length), min_side_pixels), MAX_COMPARED_SIDE_PIXELS)
