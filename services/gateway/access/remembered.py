"""What the database said a moment ago: a call whose key is known asks it nothing."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

MAX_AGE_SECONDS = 10.0
"""How long a value is believed without a word that it changed: a notification of another gateway may be lost."""
MAX_VALUES = 10_000
"""Values that are kept; the one read first goes first."""

V = TypeVar("V")


class Remembered(Generic[V]):
    """Values by name, read again when they are old or something changed."""

    def __init__(self, read: Callable[[str], Awaitable[V]], *, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self._read = read
        self._max_age_seconds = max_age_seconds
        self._values: dict[str, tuple[V, float]] = {}
        self._changes = 0

    async def get(self, name: str) -> tuple[V, float]:
        """The value, and for how many seconds it has been known."""
        known, now = self._values.get(name), time.monotonic()
        if known is not None and now - known[1] < self._max_age_seconds:
            return known[0], now - known[1]
        changes = self._changes
        value = await self._read(name)
        # A change that came while it was read may be newer than what was read.
        if changes == self._changes:
            self._values.pop(name, None)
            self._values[name] = value, now
            if len(self._values) > MAX_VALUES:
                del self._values[next(iter(self._values))]
        return value, time.monotonic() - now

    def forget(self, _: str = "") -> None:
        """Something changed: keys and limits change so rarely that all of them are read again."""
        self._changes += 1
        self._values.clear()
