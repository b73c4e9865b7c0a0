"""Work on batches that outlives failures: bad items fail alone, and batches shrink to what memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from services.common.errors import LikenessError
from services.common.telemetry import get_logger

log = get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """There is no result for an item; the log says why."""

    out_of_memory: bool
    error: LikenessError | None = None
    """What was wrong, where the work itself could say."""


class Splitter:
    """Runs one kind of work in batches of at most `limit` items, which is lowered when memory runs out."""

    def __init__(self, limit: int, **labels: str) -> None:
        """Takes the largest batch to try at first, and what the log says of the work."""
        self.limit = limit
        self._labels = labels

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Result]]) -> list[Result | Lost]:
        """One result per item, in order.

        A batch that fails is tried again in halves, down to single items. The work must therefore leave its items as
        they are until it has succeeded.
        """
        results: list[Result | Lost] = []
        while len(results) < len(items):
            results += self._run(items[len(results) : len(results) + self.limit], work)
        return results

    def _run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Result]]) -> list[Result | Lost]:
        try:
            return list(work(items))
        except Exception as error:  # whatever a model may raise
            out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
            lost = Lost(out_of_memory, error if isinstance(error, LikenessError) else None)
            log.exception("batch_failed", items=len(items), out_of_memory=out_of_memory, **self._labels)
        # Outside the handler: while the exception lives, its traceback holds the failed batch's tensors.
        if out_of_memory:
            torch.cuda.empty_cache()
            self.limit = max(min(self.limit, len(items) // 2), 1)
        if len(items) == 1:
            return [lost]
        middle = (len(items) + 1) // 2
        return [*self._run(items[:middle], work), *self._run(items[middle:], work)]
