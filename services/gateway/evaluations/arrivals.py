"""Which items of a stream come: in order, without gaps, and again only as they came before."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from services.common.errors import InvalidInputError, OutOfRangeError, Reason
from services.gateway.evaluations.ledger import Ledger
from services.gateway.evaluations.model import EvaluationItem, ItemResult
from services.gateway.evaluations.validation import MAX_OFFSET


class Arrival(Enum):
    """What an item is that comes."""

    NEW = auto()
    STORED = auto()
    """Its offset has a stored result."""
    REPEATED = auto()
    """It is under way already; counted, for it has an answer of its own."""
    REUSED = auto()
    """Another item of this offset is under way."""


@dataclass
class _Open:
    """An item under way; `repeats` is how often it came again meanwhile."""

    digest: bytes
    repeats: int = 0


class Arrivals:
    """Items that came and have no result yet.

    Args:
        ledger: Offsets that have one.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._open: dict[int, _Open] = {}
        self.next_offset = ledger.committed
        """The lowest that is new; what is stored ahead of it need not come again."""

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, item: EvaluationItem | ItemResult) -> Arrival:
        """Takes an item.

        Raises:
            OutOfRangeError: OFFSET_GAP.
            InvalidInputError: the offset is none.
        """
        if not 0 <= item.offset <= MAX_OFFSET:
            raise InvalidInputError("item.offset", f"is {item.offset}", allowed=f"0 to {MAX_OFFSET:,}")
        while self.next_offset in self._ledger:
            self.next_offset += 1
        if item.offset > self.next_offset:
            message = f"item.offset: is {item.offset}, but items from {self.next_offset} on are missing"
            metadata = {"expected_offset": str(self.next_offset)}
            raise OutOfRangeError(Reason.OFFSET_GAP, message, field="item.offset", metadata=metadata)
        if item.offset in self._ledger:
            return Arrival.STORED
        if (known := self._open.get(item.offset)) is None:
            self.next_offset = item.offset + 1
            self._open[item.offset] = _Open(item.digest)
            return Arrival.NEW
        if known.digest != item.digest:
            return Arrival.REUSED
        known.repeats += 1
        return Arrival.REPEATED

    def stored(self, offset: int) -> int:
        """Forgets an item that has a result now; returns how often it came again."""
        return self._open.pop(offset).repeats
