"""Work that a gateway looks for again and again: when it is told that there may be some, and at fixed times anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from services.common.errors import LikenessError
from services.common.telemetry import get_logger

log = get_logger(__name__)


class Ticker:
    """Calls `look` at once, then whenever it is woken and at the latest after some seconds. A failure is logged, and
    the next look comes as ever.

    Args:
        name: For logs.
        look: What to call.
        seconds: Longest time between two looks.
    """

    def __init__(self, name: str, look: Callable[[], Awaitable[None]], *, seconds: float) -> None:
        self._name = name
        self._look = look
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    def start(self) -> None:
        """Begins in the background."""
        self._task = asyncio.create_task(self._run_forever(), name=self._name)

    def wake(self) -> None:
        """Looks now rather than later; also if a look is under way that may have been too early."""
        self._woken.set()

    async def close(self) -> None:
        """Stops; a look under way is left where it is."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run_forever(self) -> None:
        while True:
            try:
                await self._look()
            except LikenessError as error:
                log.warning("tick_failed", ticker=self._name, reason=error.reason.value)
            except Exception:
                log.exception("tick_failed", ticker=self._name)
            # Not wait_for: when both come at once, Python 3.11's loses the cancellation and `close` never returns.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._woken.wait()
            self._woken.clear()
