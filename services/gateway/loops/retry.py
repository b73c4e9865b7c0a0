"""Bounded retry of backend calls. They are idempotent: seeds fix the pictures, and only finished work is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from services.common.errors import (
    ConflictError,
    InvalidInputError,
    LikenessError,
    LimitError,
    NotFoundError,
    PreconditionError,
    Reason,
)
from services.common.telemetry import get_logger

T = TypeVar("T")
log = get_logger(__name__)

_PERMANENT = (InvalidInputError, NotFoundError, ConflictError, PreconditionError, LimitError)


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on. The default waits about half a minute in all: a replica that died is back by then.

    Attributes:
        attempts: Tries in all.
        first_wait_seconds: Wait after the first failure.
        factor: By how much each wait is longer than the last.
        max_wait_seconds: Longest wait, also where an error names its own.
        database: Whether to wait for the database too. Not in a run: no step can be stored without it, and the runner
            takes the whole run up again later.
    """

    attempts: int = 7
    first_wait_seconds: float = 0.5
    factor: float = 2.0
    max_wait_seconds: float = 20.0
    database: bool = False


class Attempts:
    """Counts failures of one piece of work."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures = 0

    def progressed(self) -> None:
        """Forgets earlier failures, because part of the work got done."""
        self._failures = 0

    async def failed(self, error: LikenessError) -> None:
        """Waits before the next attempt, or raises the error if there should be none."""
        self._failures += 1
        hopeless = isinstance(error, _PERMANENT)
        hopeless |= error.reason is Reason.DATABASE_UNAVAILABLE and not self._policy.database
        if hopeless or self._failures >= self._policy.attempts:
            raise error
        wait = self._policy.first_wait_seconds * self._policy.factor ** (self._failures - 1)
        wait = min(max(wait, error.retry_after_seconds or 0.0), self._policy.max_wait_seconds)
        log.warning("backend_retry", reason=error.reason.value, failures=self._failures, wait_seconds=wait)
        await asyncio.sleep(wait)


async def retried(policy: RetryPolicy, call: Callable[[], Awaitable[T]]) -> T:
    """Result of `call`, tried again while that makes sense."""
    attempts = Attempts(policy)
    while True:
        try:
            return await call()
        except LikenessError as error:
            await attempts.failed(error)
