"""Runs of pictures that fit one call."""

from __future__ import annotations

import pytest

from services.common.errors import InvalidInputError
from services.gateway import batches


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_CALL_BYTES", 10)
    monkeypatch.setattr(batches, "MAX_PICTURES", 3)


@pytest.mark.parametrize(
    ("sizes", "base_bytes", "runs"),
    [
        ([], 0, []),
        ([1, 1, 1, 1], 0, [[1, 1, 1], [1]]),
        ([5, 5, 1], 0, [[5, 5], [1]]),
        ([5, 6, 4], 0, [[5], [6, 4]]),
        ([10, 10], 0, [[10], [10]]),
        # The base is part of every run, not of the first alone.
        ([3, 3, 3, 3, 3], 4, [[3, 3], [3, 3], [3]]),
    ],
)
def test_runs_are_as_long_as_fit(sizes: list[int], base_bytes: int, runs: list[list[int]]) -> None:
    assert list(batches.split(sizes, lambda size: size, base_bytes=base_bytes)) == runs


def test_what_fits_no_call_is_named_before_anything_is_sent() -> None:
    runs = batches.split([6, 7, 6], lambda size: size, base_bytes=4)
    with pytest.raises(InvalidInputError) as caught:
        next(runs)
    assert caught.value.field == "candidates[1]"
