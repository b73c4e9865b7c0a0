"""Calls that are open, by the key they came in with: a call ends soon after its key does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from services.common.errors import LikenessError, UnauthenticatedError
from services.common.telemetry import get_logger

LOOK_SECONDS = 10.0
"""How often keys of open calls are looked at without a word that one changed: a notification may be lost."""
_ROUNDING_SECONDS = 0.01

log = get_logger(__name__)


@dataclass(frozen=True)
class Standing:
    """How it is with a key: why it works no more, or in how many seconds it will not (None: not by itself)."""

    ended: UnauthenticatedError | None = None
    seconds_left: float | None = None


class OpenCalls:
    """Ends calls whose key was revoked or has expired. `start` it inside the event loop.

    Args:
        standing: How it is with the key of an id. A LikenessError means that nobody can tell just now.
    """

    def __init__(self, standing: Callable[[str], Awaitable[Standing]]) -> None:
        self._standing = standing
        self._calls: dict[str, set[_OpenCall]] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def held(self, key_id: str) -> Iterator[None]:
        """Around a call. When its key ends, what the block waits for is cancelled.

        Raises:
            UnauthenticatedError: the key ended before the block did.
        """
        call = _OpenCall()
        self._calls.setdefault(key_id, set()).add(call)
        try:
            yield
        except asyncio.CancelledError:
            if call.ended is not None and call.alone_in_cancelling():
                raise UnauthenticatedError(call.ended.reason, call.ended.message) from None
            raise
        finally:
            self._calls[key_id].discard(call)
            if not self._calls[key_id]:
                del self._calls[key_id]

    def look(self) -> None:
        """Looks at the keys now: one of them may have changed."""
        self._woken.set()

    def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._look_forever(), name="open-calls")

    async def close(self) -> None:
        """Looks no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look_forever(self) -> None:
        while True:
            self._woken.clear()
            wait_seconds = LOOK_SECONDS
            for key_id in list(self._calls):
                try:
                    standing = await self._standing(key_id)
                except LikenessError as error:
                    # Without the database nobody gets in anew; what is open was let in when there was one.
                    log.warning("open_calls_not_checked", reason=error.reason.value)
                    continue
                except Exception:
                    # Whatever it is, keys that end later must be seen to.
                    log.exception("open_calls_not_checked")
                    continue
                if standing.ended is not None:
                    self._end(key_id, standing.ended)
                elif standing.seconds_left is not None:
                    wait_seconds = min(wait_seconds, standing.seconds_left + _ROUNDING_SECONDS)
            # Not wait_for, which may lose a cancellation in Python 3.11.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._woken.wait()

    def _end(self, key_id: str, error: UnauthenticatedError) -> None:
        open_calls = [call for call in self._calls.get(key_id, ()) if call.ended is None]
        if open_calls:
            log.info("calls_ended", key_id=key_id, reason=error.reason.value, calls=len(open_calls))
        for call in open_calls:
            call.end(error)


class _OpenCall:
    """A call, answered by the task that makes this."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.ended: UnauthenticatedError | None = None
        self._task = task
        self._cancelled_before = task.cancelling()

    def end(self, error: UnauthenticatedError) -> None:
        """Cancels what the call waits for; once, so that it is left alone while it cleans up."""
        self.ended = error
        self._task.cancel()

    def alone_in_cancelling(self) -> bool:
        """Whether nobody but `end` has cancelled the task, such as its caller by leaving; forgets that `end` did."""
        return self._task.uncancel() <= self._cancelled_before
