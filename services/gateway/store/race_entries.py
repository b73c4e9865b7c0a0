"""What happens to a session that races: its entry is told in the transaction in which it happens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway import domain
from services.gateway.races.model import EntryState
from services.gateway.store.codec import encode
from services.gateway.store.tables import race_entries

_ENDS = {
    domain.SessionState.SUCCEEDED: EntryState.SUCCEEDED,
    domain.SessionState.CANCELLED: EntryState.CANCELLED,
    domain.SessionState.FAILED: EntryState.FAILED,
}


async def run_ended(
    connection: AsyncConnection,
    change: domain.StateChanged,
    session: domain.Session,
    *,
    seconds: float,
    now: datetime,
) -> None:
    """The session's run ended. What people do with the session from now on is no part of the race."""
    end = _ENDS.get(change.state)
    if end is None:
        return
    mine = (race_entries.c.session_id == session.id, race_entries.c.state == EntryState.RUNNING.value)
    await connection.execute(
        update(race_entries)
        .where(*mine)
        .values(
            state=end.value,
            stop_reason=change.stop_reason and change.stop_reason.value,
            error=encode(change.error),
            round_count=session.round_count,
            seconds=seconds,
            end_time=now,
        )
    )


async def deleted(connection: AsyncConnection, session_id: str, *, now: datetime) -> None:
    """The session is about to be deleted: if it was paused, this is the end of its entry."""
    mine = (race_entries.c.session_id == session_id, race_entries.c.end_time.is_(None))
    await connection.execute(update(race_entries).where(*mine).values(end_time=now))
