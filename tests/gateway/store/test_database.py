"""A database that is away, and one that comes back."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from services.common.errors import Reason, UnavailableError
from services.gateway.store.database import IDLE_TRANSACTION_SECONDS, Database

pytestmark = pytest.mark.integration

LOCK = text("LOCK TABLE sessions IN EXCLUSIVE MODE")
IDLE = "services.gateway.store.database.IDLE_TRANSACTION_SECONDS"


async def test_no_server() -> None:
    database = Database("postgresql+asyncpg://postgres@127.0.0.1:1/none")
    with pytest.raises(UnavailableError) as caught:
        await database.check()
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE and caught.value.retry_after_seconds
    await database.close()


@pytest.mark.parametrize("state", ["57P03", "57P01", "53300", "53100"])
async def test_server_that_takes_no_queries_now(tmp_path: Path, state: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        fields = f"SFATAL\0VFATAL\0C{state}\0Mnot now\0\0".encode()
        writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)
        writer.close()

    async with await asyncio.start_unix_server(refuse, tmp_path / ".s.PGSQL.5432"):
        database = Database(f"postgresql+asyncpg://postgres@/none?host={tmp_path}")
        with pytest.raises(UnavailableError) as caught:
            await database.check()
        assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
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


async def test_locks_of_a_gateway_that_freezes_in_a_transaction_are_freed(database_url: str) -> None:
    frozen, other = Database(database_url), Database(database_url)
    with pytest.raises(UnavailableError) as caught:
        async with frozen.transaction() as connection:
            shown = await connection.execute(text("SHOW idle_in_transaction_session_timeout"))
            assert shown.scalar_one() == f"{IDLE_TRANSACTION_SECONDS}s"
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 200"))
            await connection.execute(LOCK)
            # It does nothing while the other waits for the lock, and finds out when it wakes up.
            await _locked(other)
            await connection.execute(text("SELECT 1"))
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    await frozen.check()
    await frozen.close()
    await other.close()


async def test_locks_of_a_gateway_that_freezes_between_two_messages_of_a_statement_are_freed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen, other = Database(database_url), Database(database_url)
    with pytest.raises(UnavailableError) as caught:
        async with frozen.transaction() as connection:
            await connection.execute(LOCK)
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            await raw.prepare("SELECT 1")
            # Here it sleeps: the server has the statement and waits to be told to run it.
            waiting = asyncio.create_task(_locked(other))
            while not await _count(other, "wait_event_type = 'Lock'"):
                await asyncio.sleep(0.01)
            while not await _count(other, "state = 'active' AND wait_event = 'ClientRead'"):
                await asyncio.sleep(0.01)
            monkeypatch.setattr(IDLE, 3600.0)
            await other.end_frozen()
            assert not waiting.done()
            monkeypatch.setattr(IDLE, 0.0)
            await other.end_frozen()
            # In the middle of a statement too, but what that waited for was the lock.
            await waiting
            await connection.execute(text("SELECT 2"))
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    await frozen.check()
    await frozen.close()
    await other.close()


async def _locked(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(LOCK)


async def _count(database: Database, which: str) -> int:
    """Connections to this database of which this holds."""
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {which}"
    async with database.query() as connection:
        return int((await connection.execute(text(query))).scalar_one())
