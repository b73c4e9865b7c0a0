"""Flow control of a stream: how far it is read ahead of what it has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.common.errors import InvalidInputError
from services.common.settings import MEBIBYTE

MAX_ITEMS = 4096
DEFAULT_ITEMS = 1024
MIN_BYTES = MEBIBYTE
MAX_BYTES = 256 * MEBIBYTE
DEFAULT_BYTES = 64 * MEBIBYTE


@dataclass(frozen=True)
class Limits:
    """Most items, and bytes of items, read and not answered."""

    items: int = DEFAULT_ITEMS
    bytes: int = DEFAULT_BYTES

    @classmethod
    def asked(cls, items: int, size_bytes: int) -> Limits:
        """Limits as asked for, 0 for the default. Raises InvalidInputError beyond what a gateway allows."""
        if not 0 <= items <= MAX_ITEMS:
            allowed = f"1 to {MAX_ITEMS:,}, or 0 for {DEFAULT_ITEMS:,}"
            raise InvalidInputError("config.max_outstanding_items", f"is {items}", allowed=allowed)
        if size_bytes and not MIN_BYTES <= size_bytes <= MAX_BYTES:
            allowed = f"{MIN_BYTES:,} to {MAX_BYTES:,}, or 0 for {DEFAULT_BYTES:,}"
            raise InvalidInputError("config.max_outstanding_bytes", f"is {size_bytes}", allowed=allowed)
        return cls(items or DEFAULT_ITEMS, size_bytes or DEFAULT_BYTES)


class Window:
    """What is outstanding. An item counts until its answer is written, its bytes until it is processed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items = 0
        self._bytes = 0
        self._moved = asyncio.Event()

    async def room(self, is_far: Callable[[], bool]) -> None:
        """Waits until one more item may be read.

        Args:
            is_far: Whether the next item is too far beyond what is stored; asked again when `moved` is called.
        """
        while not self.has_room(is_far):
            self._moved.clear()
            await self._moved.wait()

    def has_room(self, is_far: Callable[[], bool]) -> bool:
        """Whether one more item may be read now."""
        return self._items < self._limits.items and self._bytes < self._limits.bytes and not is_far()

    def enter(self, size_bytes: int) -> None:
        """An item was read."""
        self._items += 1
        self._bytes += size_bytes

    def processed(self, size_bytes: int) -> None:
        """An item's bytes are no longer held."""
        self._bytes -= size_bytes
        self._moved.set()

    def answered(self, items: int) -> None:
        """The answers of items are written."""
        self._items -= items
        self._moved.set()

    def moved(self) -> None:
        """What is stored reaches further."""
        self._moved.set()
