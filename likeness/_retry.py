"""When a failed call is made again. Only calls that are safe to repeat get here."""

from __future__ import annotations

import random
from dataclasses import dataclass

from likeness._errors import LikenessError, Overloaded, Unavailable


@dataclass(frozen=True)
class RetryPolicy:
    """Bounded exponential backoff with jitter.

    UNAVAILABLE is tried again; RESOURCE_EXHAUSTED only if the server says when (RetryInfo). Nothing else is, and never
    beyond the call's deadline.

    Attributes:
        attempts: Most attempts of a call, the first included; 1 never retries.
        initial_delay_seconds: Wait before the second attempt.
        multiplier: Growth of the wait.
        max_delay_seconds: Longest wait; a server that asks for more is not waited for.
        reconnect_seconds: How long a watch tries to get its connection back.
    """

    attempts: int = 5
    initial_delay_seconds: float = 0.1
    multiplier: float = 2.0
    max_delay_seconds: float = 5.0
    reconnect_seconds: float = 120.0

    def delay_seconds(self, error: LikenessError, failures: int) -> float | None:
        """Wait after the `failures`-th failure, from 1; None means to give up because of the error or the count."""
        if failures >= self.attempts:
            return None
        return self.backoff_seconds(error, failures)

    def backoff_seconds(self, error: LikenessError, failures: int) -> float | None:
        """The same without the bound on the count."""
        if not isinstance(error, (Unavailable, Overloaded)):
            return None
        if error.retry_after_seconds is not None:
            return error.retry_after_seconds if error.retry_after_seconds <= self.max_delay_seconds else None
        if isinstance(error, Overloaded):
            return None
        delay = self.initial_delay_seconds * self.multiplier ** min(failures - 1, 30)
        return min(delay, self.max_delay_seconds) * random.uniform(0.8, 1.2)
