"""Calls at random times: steady, in phases, in bursts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from capacity.engine import Call


@dataclass(frozen=True)
class Phase:
    """So many calls a second for so long."""

    seconds: float
    calls_per_second: float


def phases(
    parts: Sequence[Phase], *, pictures: int = 1, deadline_seconds: float = float("inf"), seed: int = 0
) -> Iterator[Call]:
    """Poisson arrivals whose rate changes from phase to phase.

    Args:
        pictures: In each call.
        deadline_seconds: Of each call.
    """
    chance = random.Random(seed)
    begins = 0.0
    for part in parts:
        at = begins
        while part.calls_per_second and (at := at + chance.expovariate(part.calls_per_second)) < begins + part.seconds:
            yield Call(at, pictures, deadline_seconds)
        begins += part.seconds


def steady(
    calls_per_second: float, seconds: float, *, pictures: int = 1, deadline_seconds: float = float("inf"), seed: int = 0
) -> Iterator[Call]:
    """Poisson arrivals of one rate."""
    return phases([Phase(seconds, calls_per_second)], pictures=pictures, deadline_seconds=deadline_seconds, seed=seed)
