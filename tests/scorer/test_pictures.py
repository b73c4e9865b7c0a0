"""The size at which a pair is compared, and what is made only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from services.scorer.pictures import MAX_COMPARED_PIXELS, Picture, compared_size, made_once


@pytest.mark.parametrize(
    ("target", "min_side", "expected"),
    [
        ((64, 64), 11, (64, 64)),
        ((1024, 1024), 11, (1024, 1024)),
        ((2048, 2048), 11, (1024, 1024)),
        ((4000, 1000), 11, (2048, 512)),
        ((8, 64), 32, (32, 64)),
        ((8, 5_000_000), 32, (32, 8192)),
    ],
)
def test_the_target_decides(target: tuple[int, int], min_side: int, expected: tuple[int, int]) -> None:
    assert compared_size(target, min_side) == expected
    assert expected[0] * expected[1] <= MAX_COMPARED_PIXELS


def test_a_size_is_made_once_and_its_own_size_is_untouched(make_picture: Callable[..., Picture]) -> None:
    picture = make_picture(1, 40, 20)
    np.testing.assert_array_equal(picture.array((40, 20)), np.asarray(picture.rgb))
    assert picture.array((10, 12)) is picture.array((10, 12))
    assert picture.array((10, 12)).shape == (12, 10, 3)


def test_each_filter_has_its_own_array(make_picture: Callable[..., Picture]) -> None:
    picture = make_picture(1, 40, 20)
    bilinear = picture.array((10, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(bilinear, np.asarray(picture.rgb.resize((10, 12), Image.Resampling.BILINEAR)))
    assert not np.array_equal(bilinear, picture.array((10, 12)))


def test_only_what_is_missing_is_made_and_the_order_stays(make_picture: Callable[..., Picture]) -> None:
    pictures = [make_picture(seed) for seed in range(4)]
    calls: list[list[str]] = []

    def make(missing: Sequence[Picture]) -> list[str]:
        calls.append([picture.pixel_hash for picture in missing])
        return [picture.pixel_hash for picture in missing]

    hashes = [picture.pixel_hash for picture in pictures]
    assert made_once("a", pictures[1:3], make) == hashes[1:3]
    assert made_once("a", pictures, make) == hashes
    assert made_once("a", pictures, make) == hashes
    assert calls == [hashes[1:3], [hashes[0], hashes[3]]]
    assert made_once("b", pictures[:1], make) == hashes[:1]
    assert len(calls) == 3


def test_a_failure_is_not_kept(make_picture: Callable[..., Picture]) -> None:
    picture = make_picture(1)

    def fail(_: Sequence[Picture]) -> list[int]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        made_once("a", [picture], fail)
    assert made_once("a", [picture], lambda _: [1]) == [1]
