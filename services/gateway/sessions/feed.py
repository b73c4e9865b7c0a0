"""Wakes watchers of a session and hands them live progress. Bounded: progress is replaced, never queued."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from services.gateway.domain import CandidateProgress

POLL_SECONDS = 3.0
"""How long a watcher sleeps at most: a notification may be lost, an event may not."""


class Subscription:
    """One watcher's view of the feed."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._progress: dict[str, CandidateProgress] = {}

    def wake(self, progress: CandidateProgress | None = None) -> None:
        """Something happened; a newer progress of a candidate replaces the one not yet read."""
        if progress is not None:
            self._progress[progress.candidate_id] = progress
        self._woken.set()

    async def wait(self) -> list[CandidateProgress]:
        """Sleeps until woken or until it is time to look anyway; returns the newest progress of each candidate."""
        # Not wait_for, which may lose a cancellation in Python 3.11.
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()
        self._woken.clear()
        progress, self._progress = list(self._progress.values()), {}
        return progress


class Feed:
    """Subscriptions by session id."""

    def __init__(self) -> None:
        self.closed = False
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)

    @contextmanager
    def subscribed(self, *ids: str) -> Iterator[Subscription]:
        """A subscription to sessions, or to a race and its sessions, for as long as the block runs."""
        subscription = Subscription()
        for one in ids:
            self._subscriptions[one].add(subscription)
        try:
            yield subscription
        finally:
            for one in ids:
                self._subscriptions[one].discard(subscription)
                if not self._subscriptions[one]:
                    del self._subscriptions[one]

    def wake(self, session_id: str) -> None:
        """Wakes the watchers of a session; of every session if the id is empty."""
        if session_id:
            for one in self._subscriptions.get(session_id, ()):
                one.wake()
            return
        for subscriptions in self._subscriptions.values():
            for one in subscriptions:
                one.wake()

    def close(self) -> None:
        """Tells every watcher that this gateway goes away."""
        self.closed = True
        self.wake("")

    def progress(self, session_id: str, progress: CandidateProgress) -> None:
        """Hands progress to the watchers of a session on this gateway."""
        for one in self._subscriptions.get(session_id, ()):
            one.wake(progress)
