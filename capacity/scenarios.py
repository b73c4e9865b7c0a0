"""How many users so many GPUs serve, which autoscaling policy does best, and what a burst does.

    python -m capacity.scenarios [--h100-price USD] [--h200-price USD]

Simulated; the results go to capacity/results/scenarios.json. The same arguments give the same results.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from capacity import numbers
from capacity.cluster import Scaling, simulate
from capacity.models import Model
from capacity.policies import DeadlineAware, OngoingRequests, Policy, QueueDepth
from capacity.results import write
from capacity.traffic import Phase, phases, steady

GPUS = (1, 10, 100)
PICTURES = int(numbers.CALL_PICTURES.value)
DEADLINE = numbers.DEADLINE_SECONDS.value
SEARCH_STEPS = 7
CALLS_SIMULATED = 6_000
"""That GPUs which are busy all the time would answer."""
BURSTS = (1.5, 3.0, 6.0)
BURST_GPUS, BURST_SECONDS, USUAL_LOAD = 10, 120.0, 0.6
POLICY_PHASES = ((1800.0, 0.2), (1200.0, 0.9), (1800.0, 0.2))
"""Seconds, and load as a share of what the most replicas can make."""
POLICY_MOST = 10
STARTS = (numbers.START_SECONDS.value, numbers.WARM_SECONDS.value)


def main() -> None:
    """Runs all of it and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--h100-price", type=float, default=numbers.H100_PRICE.value, help="USD an hour")
    parser.add_argument("--h200-price", type=float, default=numbers.H200_PRICE.value, help="USD an hour")
    options = parser.parse_args()
    machines = (
        ("H100", 1.0, options.h100_price),
        ("H200", numbers.H200_SPEED.value, options.h200_price),
    )
    results = {
        "capacity": [
            row
            for make in (numbers.sdxl, numbers.flux)
            for name, speed, price in machines
            for row in capacity(make(speed), name, price)
        ],
        "policies": [row for start in STARTS for policy in policies() for row in [compare(policy, start)]],
        "bursts": [burst(times) for times in BURSTS],
    }
    write("scenarios", results)


def policies() -> Sequence[Policy]:
    """Those that are compared. Serve's own with the calls that fill a replica's batch, and with twice as many."""
    target = numbers.TARGET_TIMES.value * alone_seconds(numbers.sdxl())
    return (
        OngoingRequests(1.0, "ongoing requests, 1"),
        OngoingRequests(2.0, "ongoing requests, 2"),
        QueueDepth(),
        DeadlineAware(target),
    )


def alone_seconds(model: Model) -> float:
    """Of a call on a replica that is free."""
    return PICTURES / model.pictures_per_second(PICTURES)


def capacity(model: Model, machine: str, price: float) -> list[dict[str, Any]]:
    """Users that so many GPUs serve within the aim, and what that costs."""
    aim = numbers.TARGET_TIMES.value * alone_seconds(model)
    rows = []
    for gpus in GPUS:
        most = gpus * model.pictures_per_second() / PICTURES
        load, p50, p95 = most_load(model, gpus, aim)
        calls = load * most
        pictures = calls * PICTURES
        rows.append(
            {
                "model": model.name,
                "machine": machine,
                "gpus": gpus,
                "users": round(60 * calls / numbers.CALLS_PER_USER.value, 1),
                "pictures_per_second": round(pictures, 2),
                "load": round(load, 2),
                "p50_seconds": p50,
                "p95_seconds": p95,
                "aim_seconds": round(aim, 1),
                "usd_an_hour": round(gpus * price, 2),
                "usd_a_thousand_pictures": round(1000 * gpus * price / (3600 * pictures), 2),
            }
        )
    return rows


def compare(policy: Policy, start_seconds: float) -> dict[str, Any]:
    """A policy under a load that goes up for twenty minutes and down again, with the delays that Serve ships with."""
    model = numbers.sdxl()
    rate = POLICY_MOST * model.pictures_per_second() / PICTURES
    parts = [Phase(seconds, share * rate) for seconds, share in POLICY_PHASES]
    until = sum(part.seconds for part in parts)
    calls = phases(parts, pictures=PICTURES, deadline_seconds=DEADLINE, seed=7)
    scaling = Scaling(policy, 1, POLICY_MOST, start_seconds=start_seconds)
    run = simulate(model, calls, replicas=3, until=until, scaling=scaling, seed=1)
    up, down = parts[0].seconds, parts[0].seconds + parts[1].seconds
    of_burst = [call for call in run.answered if up <= call.asked_at < down]
    asked = [call for call in run.calls if up <= call.asked_at < down]
    p50, p95 = np.quantile([call.seconds for call in of_burst], (0.5, 0.95)).round(1).tolist()
    enough = [row.at - up for row in run.seconds if row.at >= up and row.serving >= POLICY_PHASES[1][1] * POLICY_MOST]
    aim = numbers.TARGET_TIMES.value * alone_seconds(model)
    return {
        "policy": policy.name,
        "start_seconds": start_seconds,
        "replicas_before": next(row.serving for row in run.seconds if row.at >= up),
        "p50_seconds": p50,
        "p95_seconds": p95,
        "within_aim": round(sum(call.seconds <= aim for call in of_burst) / len(asked), 3),
        "refused": round(sum(call.refused for call in asked) / len(asked), 3),
        "seconds_until_enough": round(enough[0]) if enough else None,
        "gpu_hours": round(run.replica_seconds / 3600, 2),
    }


def burst(times: float) -> dict[str, Any]:
    """So many times what the replicas can make, for two minutes; their number stays."""
    model = numbers.sdxl()
    rate = BURST_GPUS * model.pictures_per_second() / PICTURES
    quiet = Phase(600.0, USUAL_LOAD * rate)
    parts = [quiet, Phase(BURST_SECONDS, times * rate), Phase(1800.0, USUAL_LOAD * rate)]
    calls = phases(parts, pictures=PICTURES, deadline_seconds=DEADLINE, seed=3)
    run = simulate(model, calls, replicas=BURST_GPUS, until=sum(part.seconds for part in parts), seed=1)
    up, down = quiet.seconds, quiet.seconds + BURST_SECONDS
    asked = [call for call in run.calls if up <= call.asked_at < down]
    let_in = [call.seconds for call in asked if call.ended_at is not None]
    usual = max(row.open_calls for row in run.seconds if row.at < up)
    settled = next(row.at for row in run.seconds if row.at > down and row.open_calls <= usual)
    p50, p95 = np.quantile(let_in, (0.5, 0.95)).round(1).tolist()
    return {
        "times": times,
        "asked": len(asked),
        "refused": round(sum(call.refused for call in asked) / len(asked), 3),
        "p50_seconds": p50,
        "p95_seconds": p95,
        "seconds_until_as_before": round(settled - down),
    }


@cache
def most_load(model: Model, gpus: int, aim_seconds: float) -> tuple[float, float, float]:
    """The highest load, as a share of what they can make, whose p95 is within the aim; its p50 and p95 in seconds."""
    seconds = CALLS_SIMULATED * PICTURES / (gpus * model.pictures_per_second())
    low, high = 0.0, 1.0
    best = (float("nan"), float("nan"))
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        rate = middle * gpus * model.pictures_per_second() / PICTURES
        calls = steady(rate, seconds, pictures=PICTURES, deadline_seconds=DEADLINE, seed=5)
        run = simulate(model, calls, replicas=gpus, until=seconds, seed=1)
        p50, p95 = np.quantile([call.seconds for call in run.answered], (0.5, 0.95)).round(1).tolist()
        if p95 <= aim_seconds and not run.refused:
            low, best = middle, (p50, p95)
        else:
            high = middle
    return low, *best


if __name__ == "__main__":
    main()
