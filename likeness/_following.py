"""Following the events of a session across broken connections: what to ask for next, and what was seen already."""

from __future__ import annotations

import time

from likeness import _convert
from likeness._errors import Cancelled, LikenessError, Unavailable
from likeness._events import Event, SessionSnapshot
from likeness._retry import RetryPolicy
from likeness.gateway.v1 import session_pb2


class Follower:
    """State of one watch. `cursor` is where to go on; `accept` lets every event through once.

    The server answers each new connection with a snapshot first. The caller gets the first one only: after a reconnect
    it would tell what the caller knows.
    """

    def __init__(self, after_cursor: str, policy: RetryPolicy) -> None:
        self.cursor = after_cursor
        self._policy = policy
        self._sequence = 0
        self._connected = False
        self._failures = 0
        self._failing_since = 0.0

    def accept(self, message: session_pb2.SessionEvent) -> Event | None:
        """The event to pass on; None if it was seen before or is of a kind that only a newer client knows."""
        self._failures = 0
        if message.cursor:
            self.cursor = message.cursor
        event = _convert.event(message)
        if event is None:
            return None
        if isinstance(event.body, SessionSnapshot):
            is_news, self._connected = not self._connected, True
            return event if is_news else None
        self._connected = True
        if event.sequence:
            if event.sequence <= self._sequence:
                return None
            self._sequence = event.sequence
        return event

    def delay_seconds(self, error: LikenessError) -> float | None:
        """Wait before the next connection; None means to give up and raise the error."""
        if isinstance(error, Cancelled) and not error.reason:
            # A gateway that shuts down cancels its streams; the caller's own cancel never comes this way.
            error = Unavailable(error.message)
        now = time.monotonic()
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        if not self._connected:
            return self._policy.delay_seconds(error, self._failures)
        if now - self._failing_since > self._policy.reconnect_seconds:
            return None
        return self._policy.backoff_seconds(error, self._failures)
