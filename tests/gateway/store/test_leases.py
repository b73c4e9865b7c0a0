"""Leases of several sessions at once, beside others who lock several sessions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from services.gateway.store.database import Database
from services.gateway.store.leases import LeaseRepository
from services.gateway.store.tables import sessions
from tests.gateway.conftest import Gateway

pytestmark = pytest.mark.integration

OWNER = "another"
COUNT = 4


@pytest.mark.parametrize("way", ["renew", "release"])
async def test_rows_are_locked_in_the_order_of_their_ids(gateway: Gateway, database_url: str, way: str) -> None:
    """Else two who lock the same sessions can wait for each other."""
    ids = sorted([(await gateway.create()).removeprefix("sessions/") for _ in range(COUNT)])
    database = Database(database_url)
    leases = LeaseRepository(database)
    async with database.transaction() as connection:
        mine = sessions.c.id.in_(ids)
        # Nobody claims them: the lease does not end during the test.
        lease = {"lease_owner": OWNER, "lease_expire_time": datetime.max.replace(tzinfo=UTC)}
        await connection.execute(update(sessions).where(mine).values(state="running", **lease))
    async with database.transaction() as connection:
        # The first by id is the newest in the table.
        await connection.execute(update(sessions).where(sessions.c.id == ids[0]).values(lease_token=7))
    async with database.transaction() as holder:
        await holder.execute(select(sessions.c.id).where(sessions.c.id == ids[0]).with_for_update())
        waiting = asyncio.create_task(getattr(leases, way)(OWNER))
        while not await waits(database):
            await asyncio.sleep(0.01)
        rest = select(sessions.c.id).where(sessions.c.id.in_(ids[1:])).with_for_update(nowait=True)
        assert len((await holder.execute(rest)).all()) == COUNT - 1
    await waiting
    async with database.transaction() as connection:
        await connection.execute(update(sessions).where(mine).values(state="waiting", lease_owner=None))
    await database.close()


async def waits(database: Database) -> bool:
    """Whether some statement waits for a row."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with database.query() as connection:
        return bool((await connection.exec_driver_sql(query)).scalar_one())
