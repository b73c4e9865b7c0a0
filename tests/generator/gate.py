"""Lets a test decide when the engine's thread makes its next denoiser call."""

from __future__ import annotations

import threading


class Gate:
    """Closed at first. Counts the calls that came to it."""

    def __init__(self) -> None:
        self.calls = 0
        self._permits = threading.Semaphore(0)
        self._open = threading.Event()

    def wait(self) -> None:
        """Called by the engine's thread."""
        self.calls += 1
        if not self._open.is_set():
            assert self._permits.acquire(timeout=30)

    def let(self, calls: int) -> None:
        """Lets so many calls pass."""
        self._permits.release(calls)

    def open(self) -> None:
        """Lets all calls pass from now on."""
        self._open.set()
        self._permits.release()
