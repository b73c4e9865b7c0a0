"""Rows out of a database and into one, by PostgreSQL's COPY: any version of it reads what any other wrote."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table, select, text
from sqlalchemy import func as sql
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from services.backup.manifest import File, TableFile, damaged
from services.gateway.store.tables import metadata

VERSION_TABLE = "alembic_version"
OBJECT_COLUMNS = (("images", "content_hash"), ("manifest_parts", "content_hash"))
"""Columns that name objects which must be there."""
_COMPRESSION = 3
"""A third of the time of the default, for files a tenth larger."""


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[AsyncConnection]:
    """A transaction, committed at the end, rolled back on any exception, which may take as long as it takes."""
    # Dates are printed as every server reads them, whatever this one is set to.
    settings = {"DateStyle": "ISO", "idle_in_transaction_session_timeout": "0", "statement_timeout": "0"}
    engine = create_async_engine(database_url, poolclass=NullPool, connect_args={"server_settings": settings})
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


def reflected(connection: Connection) -> list[Table]:
    """Tables as they are, those first that others refer to, without the one that has the revision."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != VERSION_TABLE]


def ours(connection: Connection) -> list[Table]:
    """Tables of a gateway among those that are there: a database may have others, which are none of our business."""
    return [table for table in reflected(connection) if table.name in metadata.tables]


async def dump(connection: AsyncConnection, table: Table, path: Path) -> TableFile:
    """Writes the rows of a table, as the connection's transaction sees them, to a local file."""
    columns = tuple(column.name for column in table.columns if column.computed is None)
    with gzip.open(path, "wb", compresslevel=_COMPRESSION) as file:
        done = await (await _driver(connection)).copy_from_table(table.name, columns=columns, output=file)
    name = f"tables/{table.name}.copy.gz"
    return TableFile(table.name, columns, _count(done), File.of(name, path))


async def load(connection: AsyncConnection, table: Table, rows: TableFile, path: Path) -> None:
    """Adds rows from a local file to a table.

    Raises:
        PreconditionError: BACKUP_DAMAGED, if there were not as many as the backup says.
    """
    driver = await _driver(connection)
    with gzip.open(path, "rb") as file:
        done = await driver.copy_to_table(table.name, columns=rows.columns, source=file)
    if _count(done) != rows.row_count:
        raise damaged(f"{rows.table} has {_count(done)} rows instead of {rows.row_count}")
    for column in table.columns:
        if _counts_itself(column):
            await _go_on(connection, table, column)


async def dump_object_hashes(connection: AsyncConnection, path: Path) -> int:
    """Writes the hashes of all objects that rows name to a local file, a line each in ascending order; counts them."""
    named = await connection.run_sync(_named)
    # Bytewise, as Python sorts, whatever the database's language.
    query = f'SELECT DISTINCT hash COLLATE "C" AS one FROM ({named}) AS found ORDER BY one'
    with gzip.open(path, "wb", compresslevel=_COMPRESSION) as file:
        return _count(await (await _driver(connection)).copy_from_query(query, output=file))


async def still_named(connection: AsyncConnection, hashes: Sequence[str]) -> set[str]:
    """Those of some hashes that rows name."""
    named = await connection.run_sync(_named)
    query = text(f"SELECT hash FROM ({named}) AS found WHERE hash = ANY(:hashes)")
    return set((await connection.execute(query, {"hashes": list(hashes)})).scalars())


def _named(connection: Connection) -> str:
    """A query for `hash` of every object that must be there. Earlier revisions lack some of the tables."""
    there = {table.name for table in reflected(connection)}
    parts = [f"SELECT {column} AS hash FROM {table}" for table, column in OBJECT_COLUMNS if table in there]
    return " UNION ALL ".join(parts) or "SELECT NULL AS hash WHERE false"


def _counts_itself(column: Column[Any]) -> bool:
    return column.identity is not None or "nextval" in str(getattr(column.server_default, "arg", ""))


async def _go_on(connection: AsyncConnection, table: Table, column: Column[Any]) -> None:
    """Lets the column's numbers go on after the highest."""
    sequence = sql.pg_get_serial_sequence(table.name, column.name)
    highest = select(sql.coalesce(sql.max(column), 0) + 1).scalar_subquery()
    await connection.execute(select(sql.setval(sequence, highest, False)))


async def _driver(connection: AsyncConnection) -> Any:
    # Of the same session, so of the same transaction once the first statement has begun it.
    await connection.execute(text("SELECT 1"))
    return (await connection.get_raw_connection()).driver_connection


def _count(status: str) -> int:
    """Of what COPY says: "COPY 3"."""
    return int(status.rpartition(" ")[2])
