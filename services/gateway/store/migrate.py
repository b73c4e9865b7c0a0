"""Brings a database to the newest schema, or back.

`python -m services.gateway.store.migrate` upgrades the one of LIKENESS_DATABASE_URL, before gateways of a release
start. With `--back-to REVISION` it takes it back, after they have stopped and before those of an earlier release start.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from services.common.errors import InvalidInputError, LikenessError, PreconditionError, Reason
from services.common.settings import Settings
from services.common.telemetry import configure_logging, get_logger
from services.gateway.store.database import GATEWAY, Database

_FOLDER = Path(__file__).parent / "migrations"

_LOCK_KEY = 0x6C696B656E657373
"""Advisory lock under which one gateway at a time migrates ("likeness" as a number)."""

_LINGER_SECONDS, _LINGER_TRIES = 2.0, 10
"""How long connections of a gateway that has just ended may still be listed."""

log = get_logger(__name__)


async def migrate(url: str, revision: str = "head") -> None:
    """Upgrades the database at a postgresql+asyncpg:// URL; several gateways may start at once.

    Raises:
        PreconditionError: DATABASE_TOO_NEW, if a newer release has changed the tables.
    """
    await _run(url, lambda config: command.upgrade(config, revision))


async def downgrade(url: str, revision: str) -> None:
    """Takes the database back to an older revision; "base" removes every table."""
    await _run(url, lambda config: command.downgrade(config, revision))


async def lock_schema(connection: AsyncConnection) -> None:
    """Keeps gateways that start from migrating until the connection's transaction ends."""
    # Released with the transaction, so a gateway that dies here blocks nobody.
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})


async def upgrade(connection: AsyncConnection, revision: str) -> None:
    """Upgrades the database within a transaction that holds the lock."""
    await connection.run_sync(_apply, lambda config: command.upgrade(config, revision))


async def refuse_gateways(connection: AsyncConnection) -> None:
    """Raises PreconditionError(DATABASE_IN_USE) if gateways are connected to the connection's database."""
    of_gateways = "datname = current_database() AND application_name = :name"
    query = text(f"SELECT count(*) FROM pg_stat_activity WHERE {of_gateways}")
    count = 0
    for _ in range(_LINGER_TRIES):
        if not (count := (await connection.execute(query, {"name": GATEWAY})).scalar_one()):
            return
        await asyncio.sleep(_LINGER_SECONDS / _LINGER_TRIES)
        # Else a transaction sees the same list for ever.
        await connection.execute(text("SELECT pg_stat_clear_snapshot()"))
    message = f"gateways have {count} connections to the database: stop all of them first"
    raise PreconditionError(Reason.DATABASE_IN_USE, message)


def revisions() -> list[str]:
    """What this version knows the steps to, oldest first."""
    return [script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions()][::-1]


def is_known(revision: str) -> bool:
    """Whether this version has the steps to a revision."""
    return revision in revisions()


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
    wanted = ScriptDirectory(str(_FOLDER)).get_current_head() or ""
    if not revision:
        return Schema(revision, wanted, SchemaState.EMPTY)
    if not is_known(revision):
        return Schema(revision, wanted, SchemaState.AHEAD)
    return Schema(revision, wanted, SchemaState.CURRENT if revision == wanted else SchemaState.BEHIND)


def _revision(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""


async def _run(url: str, action: object) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await lock_schema(connection)
            await connection.run_sync(_apply, action)
    finally:
        await engine.dispose()


def _apply(connection: Connection, action: object) -> None:
    found = _revision(connection)
    if found and not is_known(found):
        message = f"the database is at revision {found}, which this release ({revisions()[-1]}) does not know"
        raise PreconditionError(Reason.DATABASE_TOO_NEW, message)
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    action(config)  # type: ignore[operator]


def main(arguments: Sequence[str] | None = None) -> int:
    """Upgrades the database of the settings, or takes it back; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway.store.migrate")
    parser.add_argument("--back-to", metavar="REVISION", help="earlier revision; no gateway may run")
    back_to = parser.parse_args(arguments).back_to
    settings = Settings()
    configure_logging("migrate", settings.log_level)
    try:
        asyncio.run(_move(settings.database_url, back_to))
    except LikenessError as error:
        log.error("database_not_migrated", reason=error.reason.value, problem=error.message)
        return 1
    return 0


async def _move(url: str | None, back_to: str | None) -> None:
    if url is None:
        raise InvalidInputError("LIKENESS_DATABASE_URL", "is not set", allowed="the URL of the gateways' database")
    try:
        database = Database(url, name="likeness-migrate")
    except ArgumentError as error:
        allowed = "postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE"
        raise InvalidInputError("LIKENESS_DATABASE_URL", "is no URL of PostgreSQL", allowed=allowed) from error
    try:
        await database.check()
    finally:
        await database.close()
    if back_to is None:
        await migrate(url)
    else:
        await _step_back(url, back_to)
    log.info("database_migrated", revision=(await schema(url)).revision)


async def _step_back(url: str, revision: str) -> None:
    found = await schema(url)
    # Upwards is no step back, and "base", which removes every table, is none that an operator can mean.
    earlier = [known for known in revisions() if known < found.revision]
    if found.state is not SchemaState.AHEAD and revision not in earlier:
        problem = f"is {revision!r}, the database is at revision {found.revision or 'none'}"
        raise InvalidInputError("back-to", problem, allowed=", ".join(earlier) or "none from there")
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await refuse_gateways(connection)
    finally:
        await engine.dispose()
    try:
        await downgrade(url, revision)
    except RuntimeError as error:
        # A step that would show or lose what it must not; nothing is changed.
        raise PreconditionError(Reason.DATABASE_NOT_EMPTY, str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
