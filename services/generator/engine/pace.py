"""How long pictures take: measured by the engine's thread, read for time-left and retry-after estimates."""

from __future__ import annotations

import time

from services.generator import metrics

_NEWEST_WEIGHT = 0.3
"""Weight of the newest batch in the running means."""
_UNKNOWN_SECONDS_PER_ITEM = 1.0
_SHORTEST_RETRY_SECONDS = 0.1


class Pace:
    """Running means over batches; 0 before the first."""

    def __init__(self) -> None:
        self.seconds_per_item = 0.0
        self.decode_seconds = 0.0

    def record(self, *, seconds_per_item: float, decode_seconds: float) -> None:
        """Takes a finished batch into the means."""
        self.seconds_per_item = self._mean(self.seconds_per_item, seconds_per_item)
        self.decode_seconds = self._mean(self.decode_seconds, decode_seconds)

    def seconds_for(self, items: int) -> float:
        """Estimated time until so many items more are done."""
        return max(items * (self.seconds_per_item or _UNKNOWN_SECONDS_PER_ITEM), _SHORTEST_RETRY_SECONDS)

    @staticmethod
    def _mean(old: float, new: float) -> float:
        return old + _NEWEST_WEIGHT * (new - old) if old else new


class BatchClock:
    """Times one batch from its start."""

    def __init__(self, pace: Pace, total_steps: int, model: str) -> None:
        self._pace = pace
        self._total_steps = total_steps
        self._step_seconds = metrics.STEP_SECONDS.labels(model)
        self._start = self._last_step = time.perf_counter()

    def step_done(self, done: int) -> float:
        """Notes a denoising step; returns the estimated seconds to the pictures."""
        now = time.perf_counter()
        self._step_seconds.observe(now - self._last_step)
        self._last_step = now
        return (now - self._start) / done * (self._total_steps - done) + self._pace.decode_seconds

    def finish(self, items: int) -> None:
        """Notes that the pictures are there."""
        now = time.perf_counter()
        self._pace.record(seconds_per_item=(now - self._start) / items, decode_seconds=now - self._last_step)
