"""The embedded PostgreSQL: what an unlucky end of the last run leaves never keeps it from starting."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from services.cluster.postgres import DATABASE, Postgres
from services.cluster.state import make_run_dir, remove_run_dir

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@pytest_asyncio.fixture
async def postgres(new_home: Path) -> AsyncIterator[Postgres]:
    run_dir = make_run_dir()
    server = Postgres(new_home / "postgres", run_dir, new_home / "postgres.log")
    yield server
    await server.stop()
    remove_run_dir(str(run_dir))


async def query(server: Postgres, sql: str) -> object:
    host = server.url.partition("host=")[2]
    connection = await asyncpg.connect(host=host, user="postgres", database=DATABASE)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_it_starts_after_every_kind_of_end(postgres: Postgres, new_home: Path) -> None:
    data = new_home / "postgres"
    # A first start that was interrupted in the middle of initdb.
    (new_home / "postgres.new").mkdir()
    (new_home / "postgres.new" / "half").touch()
    await postgres.start()
    await query(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert not (new_home / "postgres.new").exists()
    assert data.stat().st_mode & 0o077 == 0
    assert data.stat().st_uid != 0, "PostgreSQL never runs as root"

    assert postgres.process is not None
    postgres.process.send_signal(signal.SIGKILL)
    await postgres.process.wait()
    await postgres.start()
    assert await query(postgres, "SELECT answer FROM kept") == 42
    await postgres.stop()

    # The process id in the file now belongs to another program: after a restart of a container this is the rule.
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
    await postgres.start()
    assert await query(postgres, "SELECT answer FROM kept") == 42


async def test_a_server_that_lost_its_supervisor_makes_way(postgres: Postgres, new_home: Path) -> None:
    await postgres.start()
    orphan = postgres.process
    assert orphan is not None
    run_dir = make_run_dir()
    second = Postgres(new_home / "postgres", run_dir, new_home / "postgres.log")
    await second.start()
    await orphan.wait()
    assert "received fast shutdown request" in (new_home / "postgres.log").read_text(), "asked to end, not killed"
    assert await query(second, "SELECT 1") == 1
    await second.stop()
    remove_run_dir(str(run_dir))
