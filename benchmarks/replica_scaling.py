"""What more replicas of the generator bring, and whether their number follows the load.

    python -m benchmarks.replica_scaling [--seconds 80]

The generator as it is deployed (Ray Serve, its gRPC proxy, the engine), but for a denoiser that sleeps for a known time
(`sleep_model.py`): a replica then makes at most a batch of pictures in steps x step time, and replicas share a machine
without taking its cores from one another. Single pictures are asked for at random times (Poisson) whatever has been
answered, about 1.2 times as many as so many replicas can make by that reckoning. Throughput is counted from when the
first pictures have made room for others until nothing more is asked for; efficiency is that by as many times that of
one replica. Latencies are of all pictures, also of those that still wait then: they grow with the run. A picture's
color says which replica made it. Rows go to benchmarks/results/replica_scaling.csv.

Then the number of replicas is Serve's to choose, by open requests (`AUTOSCALING`): the load steps up beyond what one
replica can make, and down again. A row a second goes to replica_autoscaling.csv, a summary of both to
replica_scaling.json.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import grpc
import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.arrivals import poisson
from benchmarks.cluster import Serving, serving
from benchmarks.sleep_deployment import AUTOSCALING_TIMES
from benchmarks.sleep_model import STEP_SECONDS, maker
from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.common.profile import load_profile

RESULTS = Path(__file__).parent / "results"
APPLICATION = "generator"
APPLICATION_PATH = "benchmarks.sleep_deployment:app"
REPLICAS = (1, 2, 4)
LOAD = 1.2
"""Share of what the replicas can make by reckoning; what chance makes of it is in the rows."""
STEPS = 5
AUTOSCALING = {
    "generator_min_replicas": 1,
    "generator_max_replicas": 4,
    # Three quarters of a full batch of the embedded profile: a new picture finds a place.
    "generator_target_ongoing_requests": 6,
}
"""Settings."""
PHASES = ((30.0, 0.6), (200.0, 2.4), (100.0, 0.3))
"""Seconds, and load as a share of what one replica can make."""
MODEL = load_profile("embedded").generators[0]
PICTURE_SECONDS = STEPS * STEP_SECONDS
REPLICA_RATE = MODEL.max_batch / PICTURE_SECONDS
"""Pictures a second of a replica whose batches are full."""
LONGEST_SECONDS = 300.0


@dataclass(frozen=True)
class Row:
    """So many replicas that have more to do than they can."""

    replicas: int
    asked_share_of_reckoned: float
    pictures: int
    failed: int
    pictures_per_second: float
    share_of_reckoned: float
    efficiency: float
    latency_p50_seconds: float
    latency_p95_seconds: float
    fewest_of_a_replica: int
    most_of_a_replica: int
    machine: str


@dataclass(frozen=True)
class Second:
    """One second of a run whose number of replicas follows the load."""

    seconds: int
    asked_per_second: float
    """As the phase has it."""
    open_requests: int
    pictures: int
    """Of this second."""
    replica_processes: int
    """Those that start or end among them."""


@dataclass(frozen=True)
class Made:
    """A picture that was asked for; times in seconds from the beginning."""

    asked_at: float
    ended_at: float
    replica: int | None
    """Process id; None: there is no picture."""


class Client:
    """Asks for pictures at their times and keeps what came."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._began = 0.0
        self.made: list[Made] = []
        self.open = 0

    def now(self) -> float:
        """Seconds from the beginning."""
        return time.perf_counter() - self._began

    async def run(self, arrivals: Sequence[float]) -> None:
        """All pictures, and what it takes until the last of them has ended."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            stub = rpc.GeneratorServiceStub(channel)
            self._began = time.perf_counter()
            await asyncio.gather(*(self._ask(stub, at, seed) for seed, at in enumerate(arrivals)))

    async def _ask(self, stub: rpc.GeneratorServiceStub, at: float, seed: int) -> None:
        await asyncio.sleep(at - self.now())
        self.open += 1
        item = pb.GenerateItem(item_id="i", prompt="a red star", seed=seed, steps=STEPS)
        request = pb.GenerateRequest(request_id=f"q{seed}", items=[item])
        replica = None
        try:
            call = stub.Generate(request, metadata=(("application", APPLICATION),), timeout=LONGEST_SECONDS)
            async for answer in call:
                if answer.HasField("image"):
                    replica = maker(Image.open(io.BytesIO(answer.image.image.data)))
        except grpc.aio.AioRpcError as error:
            Console().print(f"{error.code().name}: {error.details()}")
        self.open -= 1
        self.made.append(Made(at, self.now(), replica))


def main() -> None:
    """Runs both and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=80.0, help="in which pictures are asked for, each load")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    rows: list[Row] = []
    for replicas in REPLICAS:
        with serving(APPLICATION, APPLICATION_PATH, generator_replicas=replicas) as served:
            rows.append(saturated(served, replicas, options.seconds, rows))
        write_csv(options.out / "replica_scaling.csv", rows)
        console.print(rows[-1])
    with serving(APPLICATION, APPLICATION_PATH, **AUTOSCALING) as served:
        seconds, latencies = asyncio.run(follow(served))
    summary = {
        "rows": [asdict(row) for row in rows],
        "autoscaling": {"settings": AUTOSCALING | AUTOSCALING_TIMES, "phases": of_phases(seconds, latencies)},
        "setting": {
            "step_seconds": STEP_SECONDS,
            "steps": STEPS,
            "load": LOAD,
            "max_batch": MODEL.max_batch,
            "reckoned_pictures_per_second_of_a_replica": REPLICA_RATE,
            "seconds": options.seconds,
            "machine": machine(),
        },
    }
    write_csv(options.out / "replica_autoscaling.csv", seconds)
    (options.out / "replica_scaling.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    console.print_json(json.dumps(summary))


def saturated(served: Serving, replicas: int, seconds: float, before: Sequence[Row]) -> Row:
    """More pictures than the replicas can make; `before` begins with the row of one, if there is any."""
    reckoned = replicas * REPLICA_RATE
    arrivals = poisson(LOAD * reckoned, seconds, seed=replicas)
    client = Client(served.address)
    asyncio.run(client.run(arrivals))
    pictures = [one for one in client.made if one.replica is not None]
    first, last = 2 * PICTURE_SECONDS, arrivals[-1]
    rate = sum(first <= one.ended_at < last for one in pictures) / (last - first)
    by_replica = Counter(one.replica for one in pictures)
    counts = [*by_replica.values(), *[0] * (replicas - len(by_replica))]
    alone = before[0].pictures_per_second if before else rate
    p50, p95 = np.quantile([one.ended_at - one.asked_at for one in pictures], (0.5, 0.95)).round(3).tolist()
    return Row(
        replicas=replicas,
        asked_share_of_reckoned=round(len(arrivals) / arrivals[-1] / reckoned, 3),
        pictures=len(pictures),
        failed=len(client.made) - len(pictures),
        pictures_per_second=round(rate, 3),
        share_of_reckoned=round(rate / reckoned, 3),
        efficiency=round(rate / (replicas * alone), 3),
        latency_p50_seconds=p50,
        latency_p95_seconds=p95,
        fewest_of_a_replica=min(counts),
        most_of_a_replica=max(counts),
        machine=machine(),
    )


async def follow(served: Serving) -> tuple[list[Second], list[list[float]]]:
    """Every second of a load that steps up and down, and the latencies of each phase's pictures."""
    ends = list(accumulate(seconds for seconds, _ in PHASES))
    arrivals: list[float] = []
    for number, (seconds, load) in enumerate(PHASES):
        begins = ends[number] - seconds
        rate = load * REPLICA_RATE
        arrivals += [begins + at for at in poisson(rate, seconds, seed=number) if at < seconds]
    client = Client(served.address)
    asking = asyncio.create_task(client.run(arrivals))
    await asyncio.sleep(0)
    rows: list[Second] = []
    counted = 0
    while client.now() < ends[-1]:
        await asyncio.sleep(len(rows) + 1 - client.now())
        phase = next((number for number, end in enumerate(ends) if len(rows) < end), len(PHASES) - 1)
        new, counted = len(client.made) - counted, len(client.made)
        replicas = await asyncio.to_thread(served.replicas)
        rows.append(Second(len(rows) + 1, round(PHASES[phase][1] * REPLICA_RATE, 2), client.open, new, len(replicas)))
    await asking
    latencies: list[list[float]] = [[] for _ in PHASES]
    for one in client.made:
        phase = next(number for number, end in enumerate(ends) if one.asked_at < end)
        latencies[phase].append(one.ended_at - one.asked_at)
    return rows, latencies


def of_phases(rows: Sequence[Second], latencies: Sequence[Sequence[float]]) -> list[dict[str, float]]:
    """Replicas and latencies of each phase."""
    found = []
    begins = 0.0
    for (seconds, load), of_phase in zip(PHASES, latencies, strict=True):
        inside = [row.replica_processes for row in rows if begins < row.seconds <= begins + seconds]
        changes = [number for number, (one, other) in enumerate(pairwise(inside), 2) if one != other]
        p50, p95 = np.quantile(of_phase, (0.5, 0.95)).round(2).tolist()
        found.append(
            {
                "seconds": seconds,
                "load_of_one_replica": load,
                "replicas_at_its_beginning": inside[0],
                "replicas_at_most": max(inside),
                "replicas_at_its_end": inside[-1],
                "second_of_the_last_change": changes[-1] if changes else 0,
                "latency_p50_seconds": p50,
                "latency_p95_seconds": p95,
            }
        )
        begins += seconds
    return found


def write_csv(path: Path, rows: Sequence[Row] | Sequence[Second]) -> None:
    """Rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def machine() -> str:
    """Cores, and how busy they are with this and other work."""
    usable = len(os.sched_getaffinity(0))
    return f"{usable} of {os.cpu_count()} cores, shared with other work, load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
