"""Watching a race: the whole of it again whenever something changed, so that a slow reader misses no more than time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from services.common.errors import NotFoundError, Reason, UnavailableError
from services.gateway.races.model import Entry, RaceState
from services.gateway.races.tabling import RaceView, viewed
from services.gateway.sessions.feed import Feed
from services.gateway.store.races import RaceRepository

MIN_INTERVAL_SECONDS = 0.5
"""Between two answers; what happens meanwhile is told by the later one."""


class RaceWatcher:
    """Follows races by what is told of their sessions."""

    def __init__(self, races: RaceRepository, feed: Feed) -> None:
        self._races = races
        self._feed = feed

    async def follow(self, tenant_id: str, race_id: str) -> AsyncIterator[RaceView]:
        """The race at once, after changes, and at its end, which ends this. Also ends when the race is deleted.

        Raises:
            NotFoundError: RACE_NOT_FOUND, if it does not exist in the first place.
            UnavailableError: this gateway shuts down, or the database does not answer.
        """
        session_ids = await self._races.session_ids(tenant_id, race_id)
        ended: dict[tuple[int, int], Entry] = {}
        last: RaceView | None = None
        with self._feed.subscribed(race_id, *session_ids) as subscription:
            while True:
                if self._feed.closed:
                    message = "the gateway is shutting down; watch again"
                    raise UnavailableError(Reason.BACKEND_UNAVAILABLE, message, retry_after_seconds=1.0)
                read_at = time.monotonic()
                try:
                    race, entries = await self._races.get_with_entries(tenant_id, race_id, ended.keys())
                except NotFoundError:
                    return
                # What has ended does not change any more, and is read once.
                news = {(one.target_index, one.entrant_index): one for one in entries}
                ended |= news
                if last is None or news:
                    last = await viewed(race, tuple(ended.values()))
                    yield last
                elif race != last.race:
                    last = RaceView(race, last.table, last.entries)
                    yield last
                if race.state is not RaceState.RUNNING:
                    return
                await subscription.wait()
                await asyncio.sleep(max(0.0, read_at + MIN_INTERVAL_SECONDS - time.monotonic()))
