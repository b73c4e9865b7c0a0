"""Time that the client of the present call leaves. Backend clients cap their timeouts with it.

Work that outlives a call (loops) runs in a context of its own, where no deadline is set.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from services.common.errors import DeadlineError, Reason

_expires: ContextVar[float | None] = ContextVar("likeness_deadline", default=None)


@contextmanager
def bound(seconds: float | None) -> Iterator[None]:
    """Sets the time left for everything awaited in the block; None means no limit."""
    token = _expires.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _expires.reset(token)


def capped(seconds: float) -> float:
    """The smaller of `seconds` and the time that is left.

    Raises:
        DeadlineError: nothing is left.
    """
    expires = _expires.get()
    if expires is None:
        return seconds
    left = expires - time.monotonic()
    if left <= 0:
        raise DeadlineError(Reason.DEADLINE_EXCEEDED, "the deadline of the call is over")
    return min(seconds, left)
