"""LISTEN/NOTIFY: a commit on any gateway wakes whoever waits on this one. Losing one costs time, never an event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from services.common.telemetry import get_logger
from services.gateway.store.database import Database

EVENTS_CHANNEL = "likeness_events"
"""Payload: id of a session that has new events or is deleted, or of a race that is."""
INTERRUPT_CHANNEL = "likeness_interrupt"
"""Payload: id of a running session that is to be cancelled, or paused at once."""
LEASES_CHANNEL = "likeness_leases"
"""Sessions wait for a gateway: one gave its own back (no payload), or a race began (its id)."""
PROFILES_CHANNEL = "likeness_profiles"
"""Payload: owned_name of a profile that scores by other weights from now on, or is deleted."""
EVALUATIONS_CHANNEL = "likeness_evaluations"
"""Payload: id of an evaluation that has changed."""
JOBS_CHANNEL = "likeness_jobs"
"""Payload: id of an evaluation that was cancelled, deleted or taken over from whoever works on it; empty if there may
be new work."""
ACCESS_CHANNEL = "likeness_access"
"""Payload: id of a key, or tenant, that changed."""

_RECONNECT_SECONDS = 1.0
_PROBE_SECONDS = 30.0

log = get_logger(__name__)


class Notifications:
    """One listening connection, re-made when it breaks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._callbacks: dict[str, Callable[[str], None]] = {}
        self._task: asyncio.Task[None] | None = None

    def on(self, channel: str, callback: Callable[[str], None]) -> None:
        """Calls `callback` with each payload; with "" after a gap, when anything may have happened."""
        self._callbacks[channel] = callback

    def start(self) -> None:
        """Starts listening in the background."""
        self._task = asyncio.create_task(self._run(), name="notifications")

    async def close(self) -> None:
        """Stops listening."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:
                log.warning("listen_failed", error=type(error).__name__)
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        engine = self._database.engine
        async with engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None
            broken = asyncio.Event()
            raw.add_termination_listener(lambda _: broken.set())
            for channel in self._callbacks:
                await raw.add_listener(channel, self._receive)
            try:
                for callback in self._callbacks.values():
                    callback("")
                while not broken.is_set():
                    # Not wait_for, which may lose a cancellation in Python 3.11.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_PROBE_SECONDS):
                            await broken.wait()
                    if not broken.is_set():
                        # A server that vanished without a word is noticed by asking.
                        await raw.execute("SELECT 1", timeout=_PROBE_SECONDS)
            finally:
                # Never back into the pool: the connection still listens.
                await connection.invalidate()

    def _receive(self, _connection: object, _pid: int, channel: str, payload: str) -> None:
        self._callbacks[channel](payload)
