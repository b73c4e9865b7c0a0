"""The one way to change a session: its row is locked, the change and its events are written together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import NotFoundError, PreconditionError, Reason
from services.gateway import domain
from services.gateway.store import race_entries, rows, tables
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

    def seconds_spent(self) -> float:
        """Seconds that the run has run until now, by the database's clock; pauses do not count."""
        since = self.row["run_start_time"]
        running = (self.now - since).total_seconds() if since is not None else 0.0
        return float(self.row["run_seconds"]) + max(0.0, running)

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
        paused: domain.PausedLoop | None = None,
    ) -> None:
        """Changes the state, with its event; `paused` is the loop that stands still."""
        self.set(state=state.value, stop_reason=stop_reason and stop_reason.value, error=encode(error))
        self.set(paused=encode(paused), cancel_requested=False, pause_requested=None)
        if state is not domain.SessionState.RUNNING:
            self.set(lease_owner=None, lease_expire_time=None)
        self.emit(domain.StateChanged(state, stop_reason, error, paused))

    def end_run(
        self,
        state: domain.SessionState,
        stop_reason: domain.StopReason | None = None,
        error: domain.ItemError | None = None,
    ) -> None:
        """Ends what is running. After a person's round in a paused session the loop stands still as before."""
        paused = self.session.paused
        self.set_state(state if paused is None else domain.SessionState.PAUSED, stop_reason, error, paused)

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
            for one in self.events:
                if isinstance(one.body, domain.StateChanged):
                    await race_entries.run_ended(
                        self.connection, one.body, self.session, seconds=self.seconds_spent(), now=self.now
                    )
        if self._values:
            await self.connection.execute(
                update(tables.sessions).where(tables.sessions.c.id == session_id).values(**self._values)
            )


@asynccontextmanager
async def locked(connection: AsyncConnection, session_id: str, token: int) -> AsyncIterator[Change]:
    """Locks a session's row for whoever runs it until the transaction ends, and writes the change if the body succeeds.

    Args:
        connection: An open transaction.
        session_id: The session.
        token: Fencing token of the lease.

    Raises:
        LeaseLostError: the token is not the newest, or the session is gone.
    """
    row = await _lock(connection, tables.sessions.c.id == session_id)
    if row is None or row["lease_token"] != token:
        raise LeaseLostError(session_id)
    async with _changing(connection, row) as change:
        yield change


@asynccontextmanager
async def owned(connection: AsyncConnection, tenant_id: str, session_id: str) -> AsyncIterator[Change]:
    """As `locked`, for the tenant whose session it is, whoever runs it.

    Raises:
        NotFoundError: SESSION_NOT_FOUND, also for another tenant's session.
    """
    row = await _lock(connection, is_session(tenant_id, session_id))
    if row is None:
        raise session_not_found(session_id)
    async with _changing(connection, row) as change:
        yield change


def is_session(tenant_id: str, session_id: str) -> ColumnElement[bool]:
    """A tenant's session of this id."""
    return and_(tables.sessions.c.id == session_id, tables.sessions.c.tenant_id == tenant_id)


async def _lock(connection: AsyncConnection, which: ColumnElement[bool]) -> RowMapping | None:
    query = rows.select_sessions().add_columns(func.clock_timestamp().label("now"))
    query = query.where(which).with_for_update(of=tables.sessions)
    return (await connection.execute(query)).mappings().one_or_none()


@asynccontextmanager
async def _changing(connection: AsyncConnection, row: RowMapping) -> AsyncIterator[Change]:
    # Never before the last event, even if the clock was set back or the lock was waited for.
    change = Change(connection, row, max(row["now"], row["update_time"]))
    yield change
    await change.flush()


def session_not_found(session_id: str) -> NotFoundError:
    """The error for a session id that is not in the database."""
    return NotFoundError(Reason.SESSION_NOT_FOUND, "session", f"sessions/{session_id}", field="name")
