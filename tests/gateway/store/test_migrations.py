"""The migrations make exactly the tables of the code, forward and back, with data in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from services.gateway.store import migrations
from services.gateway.store.migrate import SchemaState, downgrade, migrate, schema
from services.gateway.store.tables import metadata
from tests.gateway.conftest import Parts, running
from tests.gateway.store.filling import fill, lost, snapshot

pytestmark = pytest.mark.integration

T = TypeVar("T")


@pytest.fixture(autouse=True)
async def empty(empty_database_url: str) -> None:
    """Nothing is left of the test before."""
    await run(empty_database_url, lambda to: to.execute(text("DROP SCHEMA public CASCADE")))
    await run(empty_database_url, lambda to: to.execute(text("CREATE SCHEMA public")))


def revisions() -> list[tuple[str, str]]:
    """Every revision, oldest first, each with the one before it."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    found = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    return list(zip(found, ["base", *found[:-1]], strict=True))


async def test_gateways_that_start_together_migrate_once(empty_database_url: str) -> None:
    await asyncio.gather(*(migrate(empty_database_url) for _ in range(3)))
    assert await differences(empty_database_url) == []


async def test_back_and_forward_with_data(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    async with running(empty_database_url, Parts()) as one:
        await one.create()
    await downgrade(empty_database_url, "base")
    assert await tables(empty_database_url) == {"alembic_version"}
    await migrate(empty_database_url)
    assert await differences(empty_database_url) == []


@pytest.mark.parametrize(("revision", "before"), revisions())
async def test_a_step_keeps_what_both_sides_know(empty_database_url: str, revision: str, before: str) -> None:
    if before != "base":
        await migrate(empty_database_url, before)
        await run(empty_database_url, fill)
    old = await run(empty_database_url, snapshot)
    await migrate(empty_database_url, revision)
    assert lost(old, await run(empty_database_url, snapshot)) == {}, "lost on the way"
    await run(empty_database_url, fill)
    new = await run(empty_database_url, snapshot)
    assert all(new.values()), "every table has rows"
    await downgrade(empty_database_url, before)
    back = await run(empty_database_url, snapshot)
    assert {name: set(rows[0]) for name, rows in old.items()} == {name: set(rows[0]) for name, rows in back.items()}
    assert lost(old, back) == {}, "changed by going there and back"
    assert lost(new, back) == {}, "lost on the way back"
    await migrate(empty_database_url, revision)
    assert lost(back, await run(empty_database_url, snapshot)) == {}, "lost on the second way"


@pytest.mark.parametrize("start", [revision for revision, _ in revisions()][:-1])
async def test_any_release_goes_to_the_newest_and_back_with_its_data(empty_database_url: str, start: str) -> None:
    await migrate(empty_database_url, start)
    await run(empty_database_url, fill)
    old = await run(empty_database_url, snapshot)
    await migrate(empty_database_url)
    await run(empty_database_url, fill)
    new = await run(empty_database_url, snapshot)
    assert lost(old, new) == {}
    await downgrade(empty_database_url, start)
    back = await run(empty_database_url, snapshot)
    assert lost(old, back) == {} and lost(new, back) == {}


async def test_a_database_says_how_it_stands_to_this_version(empty_database_url: str) -> None:
    assert (await schema(empty_database_url)).state is SchemaState.EMPTY
    await migrate(empty_database_url, "0001")
    found = await schema(empty_database_url)
    assert (found.revision, found.state) == ("0001", SchemaState.BEHIND)
    await migrate(empty_database_url)
    found = await schema(empty_database_url)
    assert found.state is SchemaState.CURRENT and found.revision == found.wanted == revisions()[-1][0]
    await run(empty_database_url, lambda to: to.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    assert (await schema(empty_database_url)).state is SchemaState.AHEAD


async def run(url: str, work: Callable[[Connection], T]) -> T:
    """What some work on one transaction gives."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        found = await connection.run_sync(work)
    await engine.dispose()
    return found


async def differences(url: str) -> list[object]:
    """What autogenerate would change."""

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


async def tables(url: str) -> set[str]:
    """Names of the tables."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        found = set(rows.scalars())
    await engine.dispose()
    return found
