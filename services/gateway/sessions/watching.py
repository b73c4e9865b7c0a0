"""Following a session's log: stored events in pages, so that a slow reader costs no memory, and live progress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from services.common.errors import InvalidInputError, NotFoundError, OutOfRangeError, Reason
from services.gateway import domain
from services.gateway.draining import going_away
from services.gateway.history import History, apply, beginning
from services.gateway.sessions.feed import Feed
from services.gateway.store.retention import RetentionRepository
from services.gateway.store.sessions import EventPage, SessionRepository

_PAGE = 100


class Watcher:
    """Reads session logs."""

    def __init__(self, sessions: SessionRepository, retention: RetentionRepository, feed: Feed) -> None:
        self._sessions = sessions
        self._retention = retention
        self._feed = feed

    async def snapshot(self, tenant_id: str, session_id: str, sequence: int) -> History:
        """The session and its rounds right after the event with this sequence; 0 is the session as created.

        Where events after it are no longer kept it is a later one: that from which on they are.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            InvalidInputError: after_cursor lies beyond the newest event.
        """
        session = await self._sessions.get(tenant_id, session_id)
        if sequence > session.last_event_sequence:
            allowed = "a cursor of an event of this session"
            raise InvalidInputError("after_cursor", "lies beyond the newest event", allowed=allowed)
        history = await self._retention.base(tenant_id, session_id) or beginning(session)
        while (position := history.session.last_event_sequence) < sequence:
            limit = min(_PAGE, sequence - position)
            page = await self._sessions.events_after(tenant_id, session_id, position, limit)
            if _has_gap(page, position):
                # They were compacted just now.
                return await self.snapshot(tenant_id, session_id, sequence)
            for event in page.events:
                history = apply(history, event)
        return history

    async def follow(
        self, tenant_id: str, session_id: str, sequence: int, *, until_idle: bool = False, live: bool = False
    ) -> AsyncIterator[domain.SessionEvent]:
        """Every durable event after a position, once and in order, as it comes; and progress, if `live`.

        Progress of a candidate comes between the start of its round and its end, however late a notification is.

        Ends when the session is deleted, or with `until_idle` when it is not running and all its events are given.

        Raises:
            UnavailableError: this gateway shuts down, or the database does not answer.
            OutOfRangeError: EVENTS_NOT_KEPT, for a position before those that are kept.
        """
        position = sequence
        progress: list[domain.CandidateProgress] = []
        ended: set[str] = set()
        with self._feed.subscribed(session_id) as subscription:
            while True:
                if self._feed.closed:
                    raise going_away()
                try:
                    page = await self._sessions.events_after(tenant_id, session_id, position, _PAGE)
                except NotFoundError:
                    return
                if _has_gap(page, position):
                    message = "events after this cursor are no longer kept; watch the session anew"
                    raise OutOfRangeError(Reason.EVENTS_NOT_KEPT, message, field="after_cursor")
                for event in page.events:
                    yield event
                    position = event.sequence
                    if isinstance(event.body, domain.CandidateGenerated | domain.CandidateFailed):
                        ended.add(event.body.candidate.id)
                if len(page.events) == _PAGE:
                    continue
                if until_idle and not page.running and position >= page.last_sequence:
                    return
                if live and page.running:
                    for one in progress:
                        if one.candidate_id not in ended:
                            yield domain.SessionEvent(session_id, 0, datetime.now(UTC), one)
                # Told after the next events: it needs no notification, and what began its round may wait for one.
                progress = await subscription.wait()


def _has_gap(page: EventPage, position: int) -> bool:
    """Whether events right after a position are gone: sequences have no gaps."""
    following = page.events[0].sequence if page.events else page.last_sequence + 1
    return following > position + 1
