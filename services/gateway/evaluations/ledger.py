"""Which items of an evaluation have a stored result: everything below one offset, and some ahead of it."""

from __future__ import annotations

from collections.abc import Iterable


class Ledger:
    """Stored offsets. Its size is that of what is stored ahead of the committed offset.

    Args:
        committed: Everything below it is stored.
        ahead: Stored offsets above it.
    """

    def __init__(self, committed: int, ahead: Iterable[int] = ()) -> None:
        self.committed = committed
        self._ahead = set(ahead)
        self._rise()

    def __contains__(self, offset: int) -> bool:
        """Whether the result of an offset is stored."""
        return offset < self.committed or offset in self._ahead

    def add(self, offsets: Iterable[int]) -> None:
        """Notes that results are stored; `committed` rises as far as it can."""
        self._ahead.update(offset for offset in offsets if offset >= self.committed)
        self._rise()

    def committed_with(self, offsets: Iterable[int]) -> int:
        """What `committed` would be if these were stored too."""
        new, committed = set(offsets), self.committed
        while committed in new or committed in self._ahead:
            committed += 1
        return committed

    def _rise(self) -> None:
        while self.committed in self._ahead:
            self._ahead.discard(self.committed)
            self.committed += 1
