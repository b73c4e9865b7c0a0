"""Following a session's log: stored events in pages, so that a slow reader costs no memory, and live progress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from services.common.errors import InvalidInputError, NotFoundError, Reason, UnavailableError
from services.gateway import domain
from services.gateway.history import History, apply, beginning
from services.gateway.sessions.feed import Feed
from services.gateway.store.sessions import SessionRepository

_PAGE = 100


class Watcher:
    """Reads session logs."""

    def __init__(self, sessions: SessionRepository, feed: Feed) -> None:
        self._sessions = sessions
        self._feed = feed

    async def snapshot(self, session_id: str, sequence: int) -> History:
        """The session and its rounds right after the event with this sequence; 0 is the session as created.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            InvalidInputError: after_cursor lies beyond the newest event.
        """
        session = await self._sessions.get(session_id)
        if sequence > session.last_event_sequence:
            allowed = "a cursor of an event of this session"
            raise InvalidInputError("after_cursor", "lies beyond the newest event", allowed=allowed)
        history = beginning(session)
        while (position := history.session.last_event_sequence) < sequence:
            limit = min(_PAGE, sequence - position)
            for event in (await self._sessions.events_after(session_id, position, limit)).events:
                history = apply(history, event)
        return history

    async def follow(
        self, session_id: str, sequence: int, *, until_idle: bool = False, live: bool = False
    ) -> AsyncIterator[domain.SessionEvent]:
        """Every durable event after a position, once and in order, as it comes; and progress, if `live`.

        Ends when the session is deleted, or with `until_idle` when it is not running and all its events are given.

        Raises:
            UnavailableError: this gateway shuts down, or the database does not answer.
        """
        position = sequence
        with self._feed.subscribed(session_id) as subscription:
            while True:
                if self._feed.closed:
                    message = "the gateway is shutting down; go on from the last cursor"
                    raise UnavailableError(Reason.BACKEND_UNAVAILABLE, message, retry_after_seconds=1.0)
                try:
                    page = await self._sessions.events_after(session_id, position, _PAGE)
                except NotFoundError:
                    return
                for event in page.events:
                    yield event
                    position = event.sequence
                if len(page.events) == _PAGE:
                    continue
                if until_idle and not page.running and position >= page.last_sequence:
                    return
                progress = await subscription.wait()
                if live:
                    for one in progress:
                        yield domain.SessionEvent(session_id, 0, datetime.now(UTC), one)
