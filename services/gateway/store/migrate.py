"""Brings a database to the newest schema, or back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

_FOLDER = Path(__file__).parent / "migrations"

_LOCK_KEY = 0x6C696B656E657373
"""Advisory lock under which one gateway at a time migrates ("likeness" as a number)."""


async def migrate(url: str, revision: str = "head") -> None:
    """Upgrades the database at a postgresql+asyncpg:// URL; several gateways may start at once."""
    await _run(url, lambda config: command.upgrade(config, revision))


async def downgrade(url: str, revision: str) -> None:
    """Takes the database back to an older revision; "base" removes every table."""
    await _run(url, lambda config: command.downgrade(config, revision))


class SchemaState(StrEnum):
    """BEHIND: the next gateway to start upgrades it. AHEAD: a newer version has been here."""

    EMPTY = "empty"
    BEHIND = "behind"
    CURRENT = "current"
    AHEAD = "ahead"


@dataclass(frozen=True)
class Schema:
    """How a database stands to this version.

    Attributes:
        revision: What the database is at; empty without tables.
        wanted: What this version is written for.
    """

    revision: str
    wanted: str
    state: SchemaState


async def schema(url: str) -> Schema:
    """How the database at a URL stands to this version; changes nothing."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            revision = await connection.run_sync(_revision)
    finally:
        await engine.dispose()
    scripts = ScriptDirectory(str(_FOLDER))
    wanted = scripts.get_current_head() or ""
    known = {script.revision for script in scripts.walk_revisions()}
    if not revision:
        return Schema(revision, wanted, SchemaState.EMPTY)
    if revision not in known:
        return Schema(revision, wanted, SchemaState.AHEAD)
    return Schema(revision, wanted, SchemaState.CURRENT if revision == wanted else SchemaState.BEHIND)


def _revision(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""


async def _run(url: str, action: object) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            # Released with the transaction, so a gateway that dies here blocks nobody.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            await connection.run_sync(_apply, action)
    finally:
        await engine.dispose()


def _apply(connection: Connection, action: object) -> None:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    action(config)  # type: ignore[operator]
