"""Connections and transactions. Every failure to reach PostgreSQL becomes one error of ours here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

import asyncpg
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.common.errors import Reason, UnavailableError
from services.common.telemetry import get_logger

log = get_logger(__name__)

GATEWAY = "likeness-gateway"
"""Name of the gateway's connections in pg_stat_activity: who looks for what is slow sees whose it is, and nothing is
restored under a gateway that runs."""
POOL_SIZE = 16
POOL_TIMEOUT_SECONDS = 10
CONNECT_TIMEOUT_SECONDS = 5
IDLE_TRANSACTION_SECONDS = 10
"""How long a transaction may do nothing: a gateway that is frozen in the middle of one must not keep its locks."""

_END_FROZEN = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = :name
AND xact_start IS NOT NULL AND state = 'active' AND wait_event IN ('ClientRead', 'ClientWrite')
AND state_change < clock_timestamp() - make_interval(secs => :seconds)
"""

_UNREACHABLE = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    OperationalError,
    InterfaceError,
    PoolTimeoutError,
)
_AWAY = ("08", "40", "53", "57P", "25P03")
"""Beginnings of SQLSTATE: connection lost, rolled back for another transaction, out of memory, disk or connections,
starting up or shutting down, idle too long. SQLAlchemy knows only some of them as errors of their own."""


class Database:
    """A pool of connections to one PostgreSQL database.

    Args:
        url: postgresql+asyncpg:// URL.
        name: Of the connections in pg_stat_activity.
    """

    def __init__(self, url: str, *, name: str = GATEWAY) -> None:
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=POOL_SIZE,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            # After a restart of the server the pool holds dead connections: test before use.
            pool_pre_ping=True,
            connect_args={
                "timeout": CONNECT_TIMEOUT_SECONDS,
                "server_settings": {
                    "application_name": name,
                    "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_SECONDS}s",
                },
            },
        )
        # Of the same pool.
        self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end, rolled back on any exception.

        Raises:
            UnavailableError: DATABASE_UNAVAILABLE, if PostgreSQL does not answer.
        """
        with _answering():
            async with self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def query(self) -> AsyncIterator[AsyncConnection]:
        """A connection for a single query, without the two further round trips of a transaction around it.

        Raises:
            UnavailableError: DATABASE_UNAVAILABLE, if PostgreSQL does not answer.
        """
        with _answering():
            async with self._single.connect() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """One read-only transaction in which all reads see the same moment."""
        async with self.transaction() as connection:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    async def end_frozen(self) -> None:
        """Ends transactions of gateways that are frozen where PostgreSQL does not see that they do nothing.

        Between preparing a statement and running it, and while it sends rows, the server waits for the gateway but
        counts itself as active, so that idle_in_transaction_session_timeout never comes.
        """
        async with self.query() as connection:
            values = {"name": GATEWAY, "seconds": IDLE_TRANSACTION_SECONDS}
            if ended := (await connection.execute(text(_END_FROZEN), values)).scalar_one():
                log.warning("frozen_transactions_ended", count=ended)

    async def check(self) -> None:
        """Raises UnavailableError if PostgreSQL does not answer."""
        async with self.transaction() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Closes every connection."""
        await self.engine.dispose()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except _UNREACHABLE as error:
        raise _unavailable() from error
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        if error.connection_invalidated or state.startswith(_AWAY):
            raise _unavailable() from error
        raise


def _unavailable() -> UnavailableError:
    return UnavailableError(Reason.DATABASE_UNAVAILABLE, "the database does not answer", retry_after_seconds=1.0)


async def now_of(connection: AsyncConnection) -> datetime:
    """The database's clock, read once: it goes on between two calls of it in one statement."""
    return (await connection.execute(select(func.clock_timestamp()))).scalar_one()  # type: ignore[no-any-return]
