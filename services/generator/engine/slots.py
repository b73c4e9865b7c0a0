"""Items inside an engine and the way their events reach the asyncio side."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Sequence
from contextlib import suppress

from services.common import tracing
from services.generator.domain import EngineItem, GenerationRecord, Priority
from services.generator.engine.base import EngineEvent, Failed, Finished
from services.generator.families.base import Denoising


class Slot:
    """One item inside the engine. The engine thread owns it; other threads only set `cancel_requested`."""

    def __init__(self, item: EngineItem, key: Hashable, submission: SlotSubmission) -> None:
        self.item = item
        self.key = key
        """Slots of equal keys can share denoiser calls."""
        self.priority = submission.priority
        self.expires_at = submission.expires_at
        """When nobody wants the picture any more, by time.perf_counter."""
        self.cancel_requested = False
        self.ended = False
        self.denoising: Denoising | None = None
        """The picture on its way; None while it waits and when it has ended."""
        self.has_started = False
        """Whether the reader was told that the first step begins."""
        self.submitted_at = time.perf_counter()
        """When the picture was asked for, by time.perf_counter."""
        self.started_at = self.stepped_at = 0.0
        """When the picture left the queue and when its newest step was done, by time.perf_counter."""
        self.denoiser_seconds = 0.0
        """Its share of the denoiser calls it was in."""
        self.batch_pictures = 0
        """Pictures in the denoiser calls it was in, itself included, over all calls."""
        self.span = submission.span
        """What asked for it."""
        self._submission = submission

    def begin(self, denoising: Denoising) -> None:
        """Notes that the picture has left the queue."""
        self.denoising = denoising
        self.started_at = self.stepped_at = time.perf_counter()

    @property
    def is_too_late(self) -> bool:
        """Whether the time for the picture is over before it has left the queue."""
        return self.denoising is None and time.perf_counter() >= self.expires_at

    @property
    def steps_left(self) -> int:
        """Denoising steps until the picture is done. Any thread may read it."""
        denoising = self.denoising
        steps = self.item.record.denoising_steps
        return steps if denoising is None else len(denoising.timesteps) - denoising.step

    @property
    def steps_done(self) -> int:
        """Denoising steps done, from the first one on: some schedulers call the denoiser once more than there are."""
        return max(self.item.record.denoising_steps - self.steps_left, 1)

    @property
    def is_preview_due(self) -> bool:
        """Whether the step just done is one that the reader wants to see. The last one gives the picture itself."""
        interval = self.item.preview_interval_steps
        return not self.ended and interval > 0 and self.steps_left > 0 and self.steps_done % interval == 0

    def emit(self, event: EngineEvent) -> None:
        """Hands an event to the reader, from the engine thread; the last one lets the latents go."""
        emit_together([(self, event)])

    def put(self, event: EngineEvent) -> list[SlotSubmission]:
        """Takes an event in as `emit` does; returns whose reader is to be woken."""
        if self.ended:
            return []
        if isinstance(event, Finished | Failed):
            self.ended, self.denoising = True, None
        return [self._submission] if self._submission.put(event) else []


class SlotSubmission:
    """Submission whose unread events lie in a dictionary.

    A newer step or preview takes the place of an unread older one, so an item holds at most one event of each kind, and
    the event loop is woken once however many events come before the reader runs.
    """

    def __init__(
        self,
        items: Sequence[EngineItem],
        key_of: Callable[[GenerationRecord], Hashable],
        *,
        priority: Priority = Priority.NORMAL,
        deadline_seconds: float | None = None,
    ) -> None:
        """Takes checked items, what tells which of them can share denoiser calls, and how urgent they are."""
        self.priority = priority
        self.span = tracing.current()
        self.expires_at = math.inf if deadline_seconds is None else time.perf_counter() + deadline_seconds
        self.slots = {item.item_id: Slot(item, key_of(item.record), self) for item in items}
        self.loop = asyncio.get_running_loop()
        # Held for single operations on the dictionary, never while anything waits.
        self._lock = threading.Lock()
        self._unread: dict[tuple[str, type[EngineEvent]], EngineEvent] = {}
        self._has_unread = asyncio.Event()

    async def events(self) -> AsyncGenerator[EngineEvent, None]:
        """Events of all items until each has its last one."""
        open_items = len(self.slots)
        while open_items:
            await self._has_unread.wait()
            event = self._next()
            if event is None:
                continue
            open_items -= isinstance(event, Finished | Failed)
            yield event

    def cancel(self, item_id: str | None = None) -> None:
        """Asks the engine to end one item, or all, before the next denoising step."""
        for slot in self.slots.values() if item_id is None else [self.slots[item_id]]:
            slot.cancel_requested = True

    def hand_over(self, event: EngineEvent) -> None:
        """Takes an event in and wakes the reader, from any thread; never blocks."""
        if self.put(event):
            wake([self])

    def put(self, event: EngineEvent) -> bool:
        """Takes an event in, from any thread; never blocks. Returns whether the reader is to be woken."""
        with self._lock:
            is_first = not self._unread
            self._unread[event.item_id, type(event)] = event
        return is_first

    def wake(self) -> None:
        """Tells the reader that there is something to read; only in the event loop."""
        self._has_unread.set()

    def _next(self) -> EngineEvent | None:
        """The oldest unread event. One at a time: what the reader has not taken can still be replaced by a newer."""
        with self._lock:
            if self._unread:
                return self._unread.pop(next(iter(self._unread)))
            self._has_unread.clear()
            return None


def emit_together(events: Iterable[tuple[Slot, EngineEvent]]) -> None:
    """Hands events of pictures to their readers, from the engine thread.

    Each event loop is woken once: every time it takes the interpreter from the engine in the middle of its work.
    """
    wake([reader for slot, event in events for reader in slot.put(event)])


def wake(submissions: Iterable[SlotSubmission]) -> None:
    """Wakes the readers of submissions, from any thread, each event loop once."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[SlotSubmission]] = defaultdict(list)
    for one in submissions:
        by_loop[one.loop].append(one)
    for loop, readers in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            loop.call_soon_threadsafe(_wake, readers)


def _wake(readers: Sequence[SlotSubmission]) -> None:
    for one in readers:
        one.wake()
