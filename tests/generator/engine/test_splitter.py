"""Batches that fail are tried in halves."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from services.common.errors import InvalidInputError
from services.generator.engine.splitter import Lost, Splitter


def test_work_is_done_in_batches_of_the_limit_in_order() -> None:
    calls: list[Sequence[int]] = []

    def work(items: Sequence[int]) -> list[int]:
        calls.append(items)
        return [10 * item for item in items]

    assert Splitter(3).run([1, 2, 3, 4, 5, 6, 7], work) == [10, 20, 30, 40, 50, 60, 70]
    assert calls == [[1, 2, 3], [4, 5, 6], [7]]
    assert Splitter(3).run([], work) == []


def test_a_bad_item_is_lost_alone_and_the_limit_stays() -> None:
    splitter = Splitter(8)
    refusal = InvalidInputError("width_pixels", "is 3")

    def work(items: Sequence[int]) -> list[int]:
        if 5 in items:
            raise refusal
        if 2 in items:
            raise RuntimeError("bad")
        return list(items)

    assert splitter.run(range(8), work) == [0, 1, Lost(False), 3, 4, Lost(False, refusal), 6, 7]
    assert splitter.limit == 8


def test_memory_that_runs_out_lowers_the_limit_for_good() -> None:
    splitter = Splitter(8)
    sizes: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return list(items)

    assert splitter.run(range(8), work) == list(range(8))
    assert sizes == [8, 4, 2, 2, 4, 2, 2] and splitter.limit == 2
    sizes.clear()
    assert splitter.run(range(5), work) == list(range(5))
    assert sizes == [2, 2, 1]


def test_an_item_that_never_fits_says_so() -> None:
    def work(items: Sequence[int]) -> list[int]:
        raise MemoryError

    splitter = Splitter(2)
    assert splitter.run([1, 2], work) == [Lost(True), Lost(True)]
    assert splitter.limit == 1
