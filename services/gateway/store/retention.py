"""What is kept of finished sessions, and for how long: a snapshot in place of their events, then nothing."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from services.gateway import domain
from services.gateway.history import History
from services.gateway.store import tables
from services.gateway.store.changes import is_session, owned
from services.gateway.store.codec import decode, encode
from services.gateway.store.database import Database
from services.gateway.store.images import ImageRepository
from services.gateway.store.sessions import SessionRepository, read_rounds

FINISHED = (domain.SessionState.SUCCEEDED, domain.SessionState.CANCELLED, domain.SessionState.FAILED)
"""States of sessions whose last loop has ended; one that waits for a person, or whose loop is paused, has not."""

_BATCH = 200


class RetentionRepository:
    """Removes what has not changed for some days. Time is the database's."""

    def __init__(self, database: Database, sessions: SessionRepository, images: ImageRepository) -> None:
        self._database = database
        self._sessions = sessions
        self._images = images

    async def delete_finished(self, days: float) -> int:
        """Deletes finished sessions that have not changed for so many days; returns how many, a batch at most."""
        deleted = 0
        for tenant_id, session_id in await self._find(_finished_for(days)):
            async with self._database.transaction() as connection, owned(connection, tenant_id, session_id) as change:
                if change.session.state not in FINISHED or change.now - change.session.update_time < _days(days):
                    continue
                hashes = await self._sessions.delete_locked(change)
            await self._images.collect(tenant_id, hashes)
            deleted += 1
        return deleted

    async def compact_finished(self, days: float) -> int:
        """Puts a snapshot in place of the events of such sessions; returns how many, a batch at most."""
        logged = exists().where(tables.events.c.session_id == tables.sessions.c.id)
        compacted = 0
        for tenant_id, session_id in await self._find(and_(_finished_for(days), logged)):
            async with self._database.transaction() as connection, owned(connection, tenant_id, session_id) as change:
                session = change.session
                if session.state not in FINISHED or change.now - session.update_time < _days(days):
                    continue
                body = encode(History(session, await read_rounds(connection, session_id)))
                values = {"sequence": session.last_event_sequence, "body": body}
                await connection.execute(
                    insert(tables.session_snapshots)
                    .values(session_id=session_id, **values)
                    .on_conflict_do_update(index_elements=["session_id"], set_=values)
                )
                await connection.execute(delete(tables.events).where(tables.events.c.session_id == session_id))
            compacted += 1
        return compacted

    async def base(self, tenant_id: str, session_id: str) -> History | None:
        """The snapshot that stands in place of a session's first events; None if they are all kept."""
        table, log = tables.session_snapshots, tables.events
        first = select(func.min(log.c.sequence)).where(log.c.session_id == session_id).scalar_subquery()
        query = select(table.c.body, first.label("first")).select_from(
            tables.sessions.join(table, table.c.session_id == tables.sessions.c.id, isouter=True)
        )
        async with self._database.query() as connection:
            row = (await connection.execute(query.where(is_session(tenant_id, session_id)))).one_or_none()
        if row is None or (row.body is None and (row.first or 1) == 1):
            return None
        if row.body is not None:
            return decode(History, row.body)
        # A release without snapshots took its place in between: what is left of the log tells less than the tables.
        full = await self._sessions.get_full(tenant_id, session_id)
        return History(full.session, full.rounds)

    async def _find(self, which: ColumnElement[bool]) -> list[tuple[str, str]]:
        table = tables.sessions
        query = select(table.c.tenant_id, table.c.id).where(which).order_by(table.c.update_time).limit(_BATCH)
        async with self._database.query() as connection:
            return [(row.tenant_id, row.id) for row in await connection.execute(query)]


def _finished_for(days: float) -> ColumnElement[bool]:
    states = [one.value for one in FINISHED]
    table = tables.sessions
    return and_(table.c.state.in_(states), table.c.update_time < func.clock_timestamp() - _days(days))


def _days(days: float) -> timedelta:
    return timedelta(days=days)
