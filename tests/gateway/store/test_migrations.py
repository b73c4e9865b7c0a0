"""The migrations make exactly the tables of the code, forward and back, with data in them."""

from __future__ import annotations

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from services.gateway.store.migrate import downgrade, migrate
from services.gateway.store.tables import metadata
from tests.gateway.conftest import Parts, running

pytestmark = pytest.mark.integration


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
