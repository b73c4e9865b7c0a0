"""Which gateway runs which session. Time is the database's, so clocks of gateways need not agree."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select, update

from services.common.errors import PreconditionError, Reason
from services.gateway import domain
from services.gateway.loops.state import Lease
from services.gateway.store import tables
from services.gateway.store.changes import locked
from services.gateway.store.database import Database
from services.gateway.store.notifications import CANCEL_CHANNEL

LEASE_SECONDS = 8.0
"""How long a gateway that died keeps its sessions."""

_table = tables.sessions


def lease_values(owner: str) -> dict[str, Any]:
    """Columns of a fresh lease. The token rises, so that whoever held the session before can write no more."""
    return {
        "lease_owner": owner,
        "lease_expire_time": func.clock_timestamp() + timedelta(seconds=LEASE_SECONDS),
        "lease_token": _table.c.lease_token + 1,
    }


class LeaseRepository:
    """Claims, keeps and gives back the right to run sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, owner: str, running: Collection[str], limit: int) -> list[Lease]:
        """Takes running sessions that nobody runs: never leased, expired, or ours but not in `running`."""
        free = or_(
            _table.c.lease_owner.is_(None),
            _table.c.lease_expire_time < func.clock_timestamp(),
            and_(_table.c.lease_owner == owner, _table.c.id.not_in(list(running))),
        )
        async with self._database.transaction() as connection:
            query = select(_table.c.id).where(_table.c.state == domain.SessionState.RUNNING.value, free)
            query = query.order_by(_table.c.update_time).limit(limit).with_for_update(skip_locked=True)
            found = (await connection.execute(query)).scalars().all()
            claimed = await connection.execute(
                update(_table)
                .where(_table.c.id.in_(found))
                .values(**lease_values(owner))
                .returning(_table.c.id, _table.c.lease_token)
            )
            return [Lease(row.id, row.lease_token) for row in claimed]

    async def renew(self, owner: str) -> dict[str, tuple[int, bool]]:
        """Prolongs every lease of `owner`.

        Returns:
            Token and whether a cancel was requested, by session id. A session that is missing here was lost.
        """
        expire_time = func.clock_timestamp() + timedelta(seconds=LEASE_SECONDS)
        async with self._database.transaction() as connection:
            renewed = await connection.execute(
                update(_table)
                .where(_table.c.lease_owner == owner, _table.c.state == domain.SessionState.RUNNING.value)
                .values(lease_expire_time=expire_time)
                .returning(_table.c.id, _table.c.lease_token, _table.c.cancel_requested)
            )
            return {row.id: (row.lease_token, row.cancel_requested) for row in renewed}

    async def release(self, owner: str) -> None:
        """Gives every lease of `owner` back, so that another gateway goes on at once."""
        async with self._database.transaction() as connection:
            await connection.execute(
                update(_table).where(_table.c.lease_owner == owner).values(lease_owner=None, lease_expire_time=None)
            )

    async def request_cancel(self, session_id: str) -> None:
        """Asks whoever runs the session to stop; if nobody does, it is stopped here.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            PreconditionError: SESSION_NOT_RUNNING.
        """
        async with self._database.transaction() as connection, locked(connection, session_id) as change:
            if change.session.state is not domain.SessionState.RUNNING:
                raise PreconditionError(Reason.SESSION_NOT_RUNNING, "the session is not running", field="name")
            expire_time = change.row["lease_expire_time"]
            if expire_time is None or expire_time < change.row["now"]:
                change.set(lease_token=_table.c.lease_token + 1)
                change.set_state(domain.SessionState.CANCELLED, domain.StopReason.CANCELLED)
                return
            change.set(cancel_requested=True)
            await connection.execute(select(func.pg_notify(CANCEL_CHANNEL, session_id)))
