"""A database that is away, and one that comes back."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from services.common.errors import Reason, UnavailableError
from services.gateway.store.database import Database

pytestmark = pytest.mark.integration


async def test_no_server() -> None:
    database = Database("postgresql+asyncpg://postgres@127.0.0.1:1/none")
    with pytest.raises(UnavailableError) as caught:
        await database.check()
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE and caught.value.retry_after_seconds
    await database.close()


async def test_connections_that_the_server_closed_are_replaced(database_url: str) -> None:
    database, other = Database(database_url), Database(database_url)
    await database.check()
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
    )
    async with other.transaction() as connection:
        await connection.execute(text(kill))
    await database.check()
    await database.close()
    await other.close()


async def test_connection_that_dies_in_a_transaction(database_url: str) -> None:
    database, other = Database(database_url), Database(database_url)
    with pytest.raises(UnavailableError):
        async with database.transaction() as connection:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with other.transaction() as killer:
                await killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await connection.execute(text("SELECT 1"))
    await database.close()
    await other.close()


async def test_defects_are_not_taken_for_an_outage(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(ProgrammingError):
        async with database.transaction() as connection:
            await connection.execute(text("SELECT nonsense"))
    await database.close()
