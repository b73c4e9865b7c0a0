"""The segments are those of imagehash, order and omissions included."""

from __future__ import annotations

from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from services.common import images
from services.scorer.metrics import crop_resistant


def _random(seed: int, cells: int, size: tuple[int, int]) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.NEAREST)


def _corner() -> Image.Image:
    """Bright but for a dark corner of about 600 pixels: imagehash stops before it."""
    picture = Image.new("RGB", (300, 300), "white")
    picture.paste("black", (275, 275, 300, 300))
    return picture


@pytest.mark.parametrize(
    "rgb",
    [
        Image.new("RGB", (64, 64), "black"),
        _random(1, 7, (64, 64)),
        _random(2, 12, (200, 90)),
        _random(3, 40, (300, 300)),
        _corner(),
    ],
    ids=["flat", "coarse", "wide", "fine", "corner"],
)
def test_hashes_equal_those_of_the_package(rgb: Image.Image) -> None:
    expected = imagehash.crop_resistant_hash(rgb).segment_hashes
    found = crop_resistant.segment_hashes(rgb)
    assert [str(one) for one in found] == [str(one) for one in expected]


def test_hashes_of_a_real_picture(shared_folder: Path) -> None:
    rgb = images.decode((shared_folder / "data/imagehash/peppers.png").read_bytes()).rgb
    expected = imagehash.crop_resistant_hash(rgb).segment_hashes
    assert [str(one) for one in crop_resistant.segment_hashes(rgb)] == [str(one) for one in expected]
    assert len(expected) > 3


def test_more_single_pixels_than_the_package_can_count() -> None:
    """imagehash fails with an IndexError here; there is nothing left to segment, so the result stands."""
    bright = np.zeros((300, 300), dtype=bool)
    bright[::3, ::3] = True
    assert list(crop_resistant._segments(bright)) == [(slice(0, 300), slice(0, 300))]
