"""Which gateway runs which session. Time is the database's, so clocks of gateways need not agree."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, or_, select, update

from services.gateway import domain
from services.gateway.loops.state import Lease
from services.gateway.store import tables
from services.gateway.store.database import Database
from services.gateway.store.notifications import LEASES_CHANNEL

LEASE_SECONDS = 6.0
"""How long a gateway that died keeps its sessions. Others look for them every quarter of it: a loop stands still for
7.5 s at most."""

_table = tables.sessions
_TOLD = (_table.c.id, _table.c.lease_token, _table.c.cancel_requested, _table.c.pause_requested)


def lease_values(owner: str) -> dict[str, Any]:
    """Columns of a fresh lease. The token rises, so that whoever held the session before can write no more."""
    return {
        "lease_owner": owner,
        "lease_expire_time": func.clock_timestamp() + timedelta(seconds=LEASE_SECONDS),
        "lease_token": _table.c.lease_token + 1,
    }


@dataclass(frozen=True)
class Claimed:
    """A session that this gateway has from now on.

    Attributes:
        lease: The right to run it.
        stops_now: Whether all there is to do is to end or pause it: that was asked for before.
    """

    lease: Lease
    stops_now: bool


@dataclass(frozen=True)
class Renewed:
    """A lease that goes on.

    Attributes:
        token: Its token.
        stops_now: Whether the run is to be interrupted: cancelled, or paused at once.
        pauses: Whether a person wants to take over, at once or after the round under way.
    """

    token: int
    stops_now: bool
    pauses: bool


class LeaseRepository:
    """Claims, keeps and gives back the right to run sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, owner: str, running: Collection[str], limit: int) -> list[Claimed]:
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
                update(_table).where(_table.c.id.in_(found)).values(**lease_values(owner)).returning(*_TOLD)
            )
            return [Claimed(Lease(row.id, row.lease_token), _stops_now(row)) for row in claimed]

    async def renew(self, owner: str) -> dict[str, Renewed]:
        """Prolongs every lease of `owner`; returns them by session id. A session that is missing here was lost."""
        expire_time = func.clock_timestamp() + timedelta(seconds=LEASE_SECONDS)
        async with self._database.transaction() as connection:
            mine = (_table.c.lease_owner == owner, _table.c.state == domain.SessionState.RUNNING.value)
            renewed = await connection.execute(
                update(_table).where(_in_order(*mine)).values(lease_expire_time=expire_time).returning(*_TOLD)
            )
            return {
                row.id: Renewed(row.lease_token, _stops_now(row), pauses=row.pause_requested is not None)
                for row in renewed
            }

    async def release(self, owner: str) -> None:
        """Gives every lease of `owner` back, so that another gateway goes on at once."""
        async with self._database.transaction() as connection:
            await connection.execute(
                update(_table)
                .where(_in_order(_table.c.lease_owner == owner))
                .values(lease_owner=None, lease_expire_time=None)
            )
            await connection.execute(select(func.pg_notify(LEASES_CHANNEL, "")))


def _in_order(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    """That a session is among these, whose rows are locked in one order: who cancels a race locks several as well."""
    locked = select(_table.c.id).where(*which).order_by(_table.c.id).with_for_update().cte("locked")
    return _table.c.id.in_(select(locked.c.id))


def _stops_now(row: Row[Any]) -> bool:
    return bool(row.cancel_requested or row.pause_requested == "at_once")
