"""The one way to change a session: its row is locked, the change and its events are written together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import NotFoundError, PreconditionError, Reason
from services.gateway import domain
from services.gateway.store import rows, tables
from services.gateway.store.codec import encode, encode_event
from services.gateway.store.notifications import EVENTS_CHANNEL


class LeaseLostError(Exception):
    """Another gateway claimed the session, or it is deleted: whoever ran it must stop and write nothing."""


class Change:
    """A locked session and what happens to it in this transaction."""

    def __init__(self, connection: AsyncConnection, row: RowMapping, now: datetime) -> None:
        self.connection = connection
        self.row = row
        self.now = now
        self.session = rows.session(row)
        self.events: list[domain.SessionEvent] = []
        self._values: dict[str, Any] = {}

    def require_idle(self) -> None:
        """Raises PreconditionError (SESSION_BUSY) if a loop or prompt is being worked on."""
        if self.session.state is domain.SessionState.RUNNING:
            message = "the session is running; wait until it is done, or cancel it"
            raise PreconditionError(Reason.SESSION_BUSY, message, field="name")

    def set(self, **values: Any) -> None:
        """Columns of the session to write at the end."""
        self._values.update(values)

    def emit(self, body: domain.EventBody) -> domain.SessionEvent:
        """Appends an event with the next sequence."""
        sequence = self.row["last_event_sequence"] + len(self.events) + 1
        event = domain.SessionEvent(self.session.id, sequence, self.now, body)
        self.events.append(event)
        return event

    def set_state(
        self,
        state: domain.SessionState,
        stop_reason: domain.StopReason | None = None,
        error: domain.ItemError | None = None,
    ) -> None:
        """Changes the state, with its event."""
        self.set(state=state.value, stop_reason=stop_reason and stop_reason.value, error=encode(error))
        if state is not domain.SessionState.RUNNING:
            self.set(lease_owner=None, lease_expire_time=None, cancel_requested=False)
        self.emit(domain.StateChanged(state, stop_reason, error))

    async def flush(self) -> None:
        """Writes the row and the events, and wakes watchers when the transaction commits."""
        session_id = self.session.id
        if self.events:
            self.set(last_event_sequence=self.events[-1].sequence, update_time=self.now)
            await self.connection.execute(
                insert(tables.events),
                [
                    {
                        "session_id": session_id,
                        "sequence": event.sequence,
                        "create_time": event.create_time,
                        "body": encode_event(event.body),
                    }
                    for event in self.events
                ],
            )
            await self.connection.execute(select(func.pg_notify(EVENTS_CHANNEL, session_id)))
        if self._values:
            await self.connection.execute(
                update(tables.sessions).where(tables.sessions.c.id == session_id).values(**self._values)
            )


@asynccontextmanager
async def locked(connection: AsyncConnection, session_id: str, token: int | None = None) -> AsyncIterator[Change]:
    """Locks a session's row until the transaction ends, and writes the change if the body succeeds.

    Args:
        connection: An open transaction.
        session_id: The session.
        token: Fencing token of whoever runs the session; None for changes that need no lease.

    Raises:
        NotFoundError: SESSION_NOT_FOUND (without a token).
        LeaseLostError: the token is not the newest, or the session is gone.
    """
    query = rows.select_sessions().add_columns(func.clock_timestamp().label("now"))
    query = query.where(tables.sessions.c.id == session_id).with_for_update(of=tables.sessions)
    row = (await connection.execute(query)).mappings().one_or_none()
    if token is not None and (row is None or row["lease_token"] != token):
        raise LeaseLostError(session_id)
    if row is None:
        raise session_not_found(session_id)
    # Never before the last event, even if the clock was set back or the lock was waited for.
    change = Change(connection, row, max(row["now"], row["update_time"]))
    yield change
    await change.flush()


def session_not_found(session_id: str) -> NotFoundError:
    """The error for a session id that is not in the database."""
    return NotFoundError(Reason.SESSION_NOT_FOUND, "session", f"sessions/{session_id}", field="name")
