"""What a stream tells its caller: results, as many together as there are, and how far everything is stored."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.gateway.evaluations.model import ItemResult

MAX_TOGETHER = 64
"""Answers that are handed out together."""


@dataclass(frozen=True)
class Answer:
    """An item has an answer; `replayed` if it was stored before the item came (again)."""

    result: ItemResult
    replayed: bool = False


@dataclass(frozen=True)
class Committed:
    """The committed offset rose."""

    offset: int


class Answers:
    """Answers that wait to be handed out, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Answer | Committed] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, event: Answer | Committed) -> None:
        """Hands one out later."""
        self._waiting.append(event)

    def take(self) -> list[Answer] | Committed:
        """The next ones; there must be one."""
        first = self._waiting.popleft()
        if isinstance(first, Committed):
            return first
        together = [first]
        while self._waiting and len(together) < MAX_TOGETHER and isinstance(answer := self._waiting[0], Answer):
            together.append(answer)
            self._waiting.popleft()
        return together
