"""Brings a database to the newest schema, or back."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
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
