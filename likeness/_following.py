"""Following the events of a session across broken connections: what to ask for next, and what was seen already."""

from __future__ import annotations

import time

from likeness import _session_convert
from likeness._errors import Cancelled, LikenessError, Unavailable
from likeness._events import Event, SessionSnapshot
from likeness._retry import RetryPolicy
from likeness.gateway.v1 import session_pb2


class Reconnection:
    """When a watch that broke is opened again; `heard` after everything that comes."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._connected = False
        self._failures = 0
        self._failing_since = 0.0

    def heard(self) -> None:
        """Something came: the connection works."""
        self._connected = True
        self._failures = 0

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


class Follower(Reconnection):
    """State of one watch. `cursor` is where to go on; `accept` lets every event through once.

    The server answers each new connection with a snapshot first. The caller gets the first one only, since after a
    reconnect it tells what the caller knows; unless it lies beyond what was seen: events up to it are no longer kept.
    """

    def __init__(self, after_cursor: str, policy: RetryPolicy) -> None:
        super().__init__(policy)
        self.cursor = after_cursor
        self._sequence = 0

    def accept(self, message: session_pb2.SessionEvent) -> Event | None:
        """The event to pass on; None if it was seen before or is of a kind that only a newer client knows."""
        self._failures = 0
        if message.cursor:
            self.cursor = message.cursor
        event = _session_convert.event(message)
        if event is None:
            return None
        if isinstance(event.body, SessionSnapshot):
            position = event.body.session.last_event_sequence
            is_news = not self._connected or position > self._sequence
            self._connected, self._sequence = True, max(self._sequence, position)
            return event if is_news else None
        self._connected = True
        if event.sequence:
            if event.sequence <= self._sequence:
                return None
            self._sequence = event.sequence
        return event
