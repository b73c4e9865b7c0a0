"""The simulator against what was measured here with the real engine, Ray Serve and its autoscaler.

    python -m capacity.validation

The same arrivals (same seeds) go through the simulated deployment, with the settings of the measured one and the step
times that were known or measured apart; nothing is fitted to the rows that are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from benchmarks.arrivals import poisson
from capacity.cluster import Run, Scaling, simulate
from capacity.engine import Call
from capacity.models import Curve, Model
from capacity.policies import OngoingRequests
from capacity.results import benchmark, write

REPLICA_START_SECONDS = 60.0
"""From the decision to a replica that takes calls, on the busy core of the measurement: processes of the second replica
were there at second 46 of replica_autoscaling.csv, and more pictures came than one replica makes from second 116 on,
one picture's time of 10 s after it began."""


@dataclass(frozen=True)
class Row:
    """One number, measured and simulated."""

    what: str
    number: str
    measured: float
    simulated: float

    @property
    def error(self) -> float:
        """Of the simulation, as a share of what was measured."""
        return self.simulated / self.measured - 1 if self.measured else float(self.simulated != self.measured)


def main() -> None:
    """Runs all of it and writes the rows."""
    rows = [*replicas(), *autoscaling(), *load()]
    write("validation", {"rows": [asdict(row) | {"error": round(row.error, 4)} for row in rows]})
    for row in rows:
        print(f"{row.what:44} {row.number:28} {row.measured:9.3f} {row.simulated:9.3f} {row.error:+8.1%}")


def replicas() -> Iterable[Row]:
    """1, 2 and 4 replicas with more to do than they can (benchmarks/results/replica_scaling.json)."""
    found = benchmark("replica_scaling")
    setting, model = found["setting"], _sleeping(found["setting"])
    for row in found["rows"]:
        count = row["replicas"]
        reckoned = count * setting["reckoned_pictures_per_second_of_a_replica"]
        arrivals = poisson(setting["load"] * reckoned, setting["seconds"], seed=count)
        run = simulate(model, map(Call, arrivals), replicas=count, until=600)
        first, last = 2 * model.alone_seconds, arrivals[-1]
        rate = sum(first <= one.ended_at < last for one in run.answered if one.ended_at) / (last - first)
        p50, p95 = _quantiles(run.answered)
        what = f"{count} replica{'s' if count > 1 else ''}, more asked for than can be made"
        yield Row(what, "pictures/s", row["pictures_per_second"], round(rate, 3))
        yield Row(what, "latency p50, s", row["latency_p50_seconds"], p50)
        yield Row(what, "latency p95, s", row["latency_p95_seconds"], p95)


def autoscaling() -> Iterable[Row]:
    """A load that steps up and down, the number of replicas Serve's to choose (replica_scaling.json, autoscaling)."""
    found = benchmark("replica_scaling")
    model, settings = _sleeping(found["setting"]), found["autoscaling"]["settings"]
    parts = [(one["seconds"], one["load_of_one_replica"]) for one in found["autoscaling"]["phases"]]
    ends = list(accumulate(seconds for seconds, _ in parts))
    rate = found["setting"]["reckoned_pictures_per_second_of_a_replica"]
    arrivals = []
    for number, (seconds, share) in enumerate(parts):
        arrivals += [ends[number] - seconds + at for at in poisson(share * rate, seconds, seed=number) if at < seconds]
    scaling = Scaling(
        OngoingRequests(settings["generator_target_ongoing_requests"]),
        settings["generator_min_replicas"],
        settings["generator_max_replicas"],
        look_back_seconds=settings["look_back_period_s"],
        upscale_delay_seconds=settings["upscale_delay_s"],
        downscale_delay_seconds=settings["downscale_delay_s"],
        start_seconds=REPLICA_START_SECONDS,
    )
    run = simulate(model, map(Call, arrivals), replicas=1, until=ends[-1] + 200, scaling=scaling)
    for number, phase in enumerate(found["autoscaling"]["phases"]):
        begins, end = ends[number] - phase["seconds"], ends[number]
        asked = [call for call in run.answered if begins <= call.asked_at < end]
        counts = [row.replicas for row in run.seconds if begins < row.at <= end]
        what = f"autoscaled, {phase['load_of_one_replica']:g} times what one replica makes"
        p50, p95 = _quantiles(asked)
        changes = [place for place, (one, other) in enumerate(pairwise(counts), 2) if one != other]
        yield Row(what, "replicas at the end", phase["replicas_at_its_end"], counts[-1])
        yield Row(what, "second of the last change", phase["second_of_the_last_change"], changes[-1] if changes else 0)
        yield Row(what, "latency p50, s", phase["latency_p50_seconds"], p50)
        yield Row(what, "latency p95, s", phase["latency_p95_seconds"], p95)


def load() -> Iterable[Row]:
    """The embedded model at half, four fifths and 95 % of its capacity, on one engine (generation_load.json)."""
    found = benchmark("generation_load")
    queue = found["queues"]["alike"]
    setting = found["setting"]
    steps, most = setting["alike"]["steps"], setting["max_batch"]
    costs = {one["load"]: one for one in found["costs"]}
    for row in found["rows"]:
        if (row["mix"], row["way"]) != ("alike", "step"):
            continue
        # Two points of the curve, measured without load before and after: a picture alone, and in full batches.
        alone = costs[row["load"]]["alone_seconds"] / steps
        full = costs[row["load"]]["full_seconds"] * most / steps
        slope = (full - alone) / (most - 1)
        model = Model("embedded", steps, most, Curve(alone - slope, slope), max_waiting=10**6)
        rate = row["load"] * queue["request_pictures_per_second"]
        arrivals = poisson(rate, setting["seconds"], seed=int(100 * row["load"]))
        run = simulate(model, map(Call, arrivals), replicas=1, until=600)
        last = max(call.ended_at for call in run.answered if call.ended_at)
        what = f"embedded model at {row['load']:.0%} of its capacity"
        mean = sum(call.seconds for call in run.answered) / len(run.answered)
        yield Row(what, "latency, mean, s", row["mean_seconds"], round(mean, 3))
        yield Row(what, "latency p95, s", row["p95_seconds"], _quantiles(run.answered)[1])
        yield Row(what, "pictures/s", row["pictures_per_second"], round(len(arrivals) / last, 3))


def _sleeping(setting: dict[str, Any]) -> Model:
    """The measured replicas, whose denoiser calls take as long whatever their batch."""
    return Model("sleeping", setting["steps"], setting["max_batch"], Curve(setting["step_seconds"], 0.0))


def _quantiles(calls: Sequence[Call]) -> tuple[float, float]:
    p50, p95 = np.quantile([call.seconds for call in calls], (0.5, 0.95)).round(3).tolist()
    return p50, p95


__all__ = ["Row", "Run", "autoscaling", "load", "main", "replicas"]

if __name__ == "__main__":
    main()
