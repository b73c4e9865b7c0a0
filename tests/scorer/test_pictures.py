"""The size at which a pair is compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from services.scorer.pictures import MAX_COMPARED_PIXELS, Picture, compared_size


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
