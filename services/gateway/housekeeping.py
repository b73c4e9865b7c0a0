"""Chores that one gateway of a database does for all: forgetting what is no longer needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from sqlalchemy import text

from services.common.errors import LikenessError
from services.common.telemetry import counter, get_logger
from services.gateway.store.database import Database

INTERVAL_SECONDS = 600.0

_LOCK_KEY = 0x6C696B656E657374
"""Advisory lock of the gateway that does the chores ("likenest" as a number)."""

Chore = Callable[[], Awaitable[int]]
"""Does a part of what there is to do, a bounded one, and returns how many things it removed."""

log = get_logger(__name__)
_removed = counter("likeness_gateway_removed", "Things that housekeeping removed, by chore.", ("chore",))


class Housekeeping:
    """Does every chore at the start and then every ten minutes, unless another gateway is at it.

    Args:
        database: Where the lock is.
        chores: By name, for logs and metrics.
    """

    def __init__(self, database: Database, chores: Mapping[str, Chore]) -> None:
        self._database = database
        self._chores = dict(chores)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins in the background."""
        self._task = asyncio.create_task(self._run_forever(), name="housekeeping")

    async def close(self) -> None:
        """Stops; a chore under way is left where it is."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def run(self) -> bool:
        """Does every chore once; False if another gateway is doing them.

        Raises:
            LikenessError: a chore failed; those after it wait for the next time.
        """
        # Held by the transaction, so that a gateway that dies here blocks nobody, nor one that is frozen for an hour.
        async with self._database.transaction() as connection:
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1h'"))
            taken = await connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            if not taken.scalar_one():
                return False
            for name, chore in self._chores.items():
                removed = await chore()
                _removed.labels(name).inc(removed)
                if removed:
                    log.info("removed", chore=name, count=removed)
        return True

    async def _run_forever(self) -> None:
        while True:
            try:
                await self.run()
            except LikenessError as error:
                log.warning("housekeeping_failed", reason=error.reason.value)
            except Exception:
                log.exception("housekeeping_failed")
            await asyncio.sleep(INTERVAL_SECONDS)
