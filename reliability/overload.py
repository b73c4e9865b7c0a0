"""Ten times more pictures asked for than can be made: those let in keep their time, the others hear when to come again.

    python -m reliability.overload [--seconds 30] [--times 10]

A real gateway in front of a light generator with a known step time and a short queue, which refuses as the real one
does. First pictures one after another, then at random times (Poisson) so many times as often as they can be made,
whatever has been answered, then one after another again. The gateway has no queue of its own for pictures: what it adds
is what this measures. The row goes to reliability/results/overload.json; the exit code is 1 if p99 of those let in is
above twice that of the quiet time, a refusal says no time, anything else fails, or memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from likeness import AsyncClient, LikenessError, Overloaded, RetryPolicy
from reliability.deployment import Deployment, deployed
from reliability.results import RESULTS, machine, write
from services.common.settings import MEBIBYTE

SLOTS, STEPS, STEP_SECONDS = 2, 4, 0.25
PICTURE_SECONDS = STEPS * STEP_SECONDS
CAPACITY = SLOTS / PICTURE_SECONDS
"""Pictures a second."""
MAX_WAITING = 1
"""Half of the pictures that are made at once: who is let in waits about half of the time of a picture."""
OPTIONS = {
    "generator": [f"--slots={SLOTS}", f"--step-seconds={STEP_SECONDS}", f"--max-waiting={MAX_WAITING}"],
}
QUIET_PICTURES = 24
MOST_TIMES_P99 = 2.0
MOST_GROWTH_MIB = 16.0
WARM_PART = 0.25
"""Of the overloaded time, after which memory is where it stays."""


@dataclass
class Calls:
    """What became of calls for one picture."""

    seconds: list[float] = field(default_factory=list)
    """Of those that were let in and got their picture."""
    refused: int = 0
    refused_without_time: int = 0
    refusal_seconds: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def p99(self) -> float:
        """Of the pictures, in seconds."""
        return float(np.quantile(self.seconds, 0.99)) if self.seconds else float("inf")


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="of overload")
    parser.add_argument("--times", type=float, default=10.0, help="what can be made, asked for")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "overload.json")
    options = parser.parse_args()
    row = asyncio.run(overload(seconds=options.seconds, times=options.times, seed=options.seed))
    write(options.out, row)
    Console().print_json(data=row)
    return 0 if row["held"] else 1


async def overload(*, seconds: float, times: float, seed: int) -> dict[str, Any]:
    """One run and its row."""
    async with (
        deployed(options=OPTIONS) as deployment,
        AsyncClient(deployment.address(), retry=RetryPolicy(attempts=1)) as client,
    ):
        await one_by_one(client, QUIET_PICTURES // 4)
        quiet = await one_by_one(client, QUIET_PICTURES)
        memory: list[float] = []
        sampling = asyncio.create_task(_sample(deployment, memory))
        cpu_before = _cpu_seconds(deployment)
        loaded = await at_random(client, times * CAPACITY, seconds, seed)
        cpu = _cpu_seconds(deployment) - cpu_before
        sampling.cancel()
        after = await one_by_one(client, QUIET_PICTURES)
    warm, growth = _growth(memory)
    asked = len(loaded.seconds) + loaded.refused + loaded.failed.total()
    ratio = loaded.p99() / quiet.p99()
    failed = loaded.failed + quiet.failed + after.failed
    alone = quiet.refused + after.refused
    held = (
        ratio <= MOST_TIMES_P99 and growth <= MOST_GROWTH_MIB and not (loaded.refused_without_time or failed or alone)
    )
    return {
        "held": bool(held),
        "seconds": seconds,
        "capacity_per_second": CAPACITY,
        "asked_per_second": round(asked / seconds, 1),
        "let_in": len(loaded.seconds),
        "refused": loaded.refused,
        "refused_without_retry_info": loaded.refused_without_time,
        "failed": dict(failed),
        "quiet_p50_seconds": round(float(np.quantile(quiet.seconds, 0.5)), 3),
        "quiet_p99_seconds": round(quiet.p99(), 3),
        "overloaded_p50_seconds": round(float(np.quantile(loaded.seconds, 0.5)), 3),
        "overloaded_p99_seconds": round(loaded.p99(), 3),
        "times_quiet_p99": round(ratio, 2),
        "refusal_p99_seconds": round(float(np.quantile(loaded.refusal_seconds or [0.0], 0.99)), 3),
        "quiet_p99_afterwards_seconds": round(after.p99(), 3),
        "gateway_cpu_milliseconds_per_call": round(1000 * cpu / asked, 2),
        "gateway_rss_warm_mib": round(warm, 1),
        "gateway_rss_growth_mib": round(growth, 1),
        "machine": machine(),
    }


async def one_by_one(client: AsyncClient, count: int) -> Calls:
    """Pictures, each asked for when the one before has come."""
    calls = Calls()
    for seed in range(count):
        await _one(client, seed, calls)
    return calls


async def at_random(client: AsyncClient, per_second: float, seconds: float, seed: int) -> Calls:
    """Pictures at times that chance chooses, whatever has been answered."""
    calls, chance = Calls(), random.Random(seed)
    began, at = time.monotonic(), 0.0
    async with asyncio.TaskGroup() as group:
        while (at := at + chance.expovariate(per_second)) < seconds:
            await asyncio.sleep(began + at - time.monotonic())
            group.create_task(_one(client, chance.randrange(2**32), calls))
    return calls


async def _one(client: AsyncClient, seed: int, calls: Calls) -> None:
    began = time.monotonic()
    try:
        (made,) = await client.generate("rgb 10 20 30", seed=seed, steps=STEPS)
        if made.error is None:
            calls.seconds.append(time.monotonic() - began)
        else:
            calls.failed[made.error.reason] += 1
    except Overloaded as error:
        calls.refused += 1
        calls.refused_without_time += error.retry_after_seconds is None
        calls.refusal_seconds.append(time.monotonic() - began)
    except LikenessError as error:
        calls.failed[f"{error.code} {error.reason}".strip()] += 1


async def _sample(deployment: Deployment, memory: list[float]) -> None:
    process = _gateway(deployment)
    while True:
        memory.append(process.memory_info().rss / MEBIBYTE)
        await asyncio.sleep(0.5)


def _cpu_seconds(deployment: Deployment) -> float:
    times = _gateway(deployment).cpu_times()
    return times.user + times.system


def _gateway(deployment: Deployment) -> psutil.Process:
    (gateway,) = deployment.gateways
    assert gateway.process is not None
    return psutil.Process(gateway.process.pid)


def _growth(memory: Sequence[float]) -> tuple[float, float]:
    """Memory when warm, and how much more there was at the end; both in MiB."""
    warm = memory[int(len(memory) * WARM_PART)]
    return warm, memory[-1] - warm


if __name__ == "__main__":
    sys.exit(main())
