"""Items inside an engine and the way their events reach the asyncio side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from services.generator.domain import EngineItem
from services.generator.engine.base import EngineEvent, Failed, Finished


class Slot:
    """One item inside the engine. The engine thread owns it; other threads only set `cancel_requested`."""

    def __init__(self, item: EngineItem, submission: SlotSubmission) -> None:
        self.item = item
        self.cancel_requested = False
        self.ended = False
        self._submission = submission

    def emit(self, event: EngineEvent) -> None:
        """Hands an event to the reader, from the engine thread."""
        if self.ended:
            return
        self.ended = isinstance(event, Finished | Failed)
        self._submission.hand_over(event)


class SlotSubmission:
    """Submission whose unread events live in a dictionary of the event loop's thread.

    A newer step event takes the place of an unread older one, so an item holds at most one event of each kind.
    """

    def __init__(self, items: Sequence[EngineItem]) -> None:
        self.slots = {item.item_id: Slot(item, self) for item in items}
        self._loop = asyncio.get_running_loop()
        self._unread: dict[tuple[str, type[EngineEvent]], EngineEvent] = {}
        self._has_unread = asyncio.Event()

    async def events(self) -> AsyncGenerator[EngineEvent, None]:
        """Events of all items until each has its last one."""
        open_items = len(self.slots)
        while open_items:
            await self._has_unread.wait()
            self._has_unread.clear()
            while self._unread:
                # One at a time: what the reader has not taken yet can still be replaced by something newer.
                event = self._unread.pop(next(iter(self._unread)))
                open_items -= isinstance(event, Finished | Failed)
                yield event

    def cancel(self, item_id: str | None = None) -> None:
        """Asks the engine to end one item, or all, before the next denoising step."""
        for slot in self.slots.values() if item_id is None else [self.slots[item_id]]:
            slot.cancel_requested = True

    def hand_over(self, event: EngineEvent) -> None:
        """Called by the engine thread; never blocks."""
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self.receive, event)

    def receive(self, event: EngineEvent) -> None:
        """Called on the event loop's thread."""
        self._unread[event.item_id, type(event)] = event
        self._has_unread.set()
