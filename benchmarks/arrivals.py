"""When pictures are asked for."""

from __future__ import annotations

import random


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of arrival in seconds from the beginning, so many a second; at least one, the last past the end."""
    rng = random.Random(seed)
    times = [rng.expovariate(rate)]
    while times[-1] < seconds:
        times.append(times[-1] + rng.expovariate(rate))
    return times
