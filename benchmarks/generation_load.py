"""Step-level batching against request-level batching and the stock pipeline alone, under load.

    python -m benchmarks.generation_load [--seconds 60] [--threads 2]

Single pictures of the embedded model are asked for at random times (Poisson) at 50, 80 and 95 % of capacity, by the
same list of arrivals for each way: `step`, the engine of the service; `request`, requests of equal settings that wait
together share a call of the stock pipeline; `stock`, one call of the stock pipeline after the other. Twice: requests
that are all `alike`, as request-level batching likes them best, and `mixed` ones that differ in steps, scheduler and
guidance. Capacity is what request-level batching makes of a long queue of them, so that it never has more than it can
do; `stock` has, at times, and its latencies then say how long the run was and no more.

Latency is from the time a picture is asked for to the picture, in seconds; a picture that is not there twice the run's
length after its beginning counts with the time until then and as unfinished. The quality column is the mean absolute
pixel difference, of 255, to the stock pipeline alone for the first pictures of the list. Overhead is the engine's time
for a long queue over that of the bare calls of text encoder, denoiser and decoder in it. Rows go to
benchmarks/results/generation_load.csv, and with a summary to generation_load.json. What a picture takes the engine,
alone and in full batches, is measured right before and after its run under each load, as the machine is not always as
fast; `capacity/validation.py` simulates the run from it.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.arrivals import poisson
from benchmarks.request_level import PipelineServer, run
from benchmarks.step_level import (
    MIXED_SCALES,
    MIXED_SCHEDULERS,
    MIXED_STEPS,
    Server,
    StepServer,
    bare_calls,
    make_all,
    requests,
)
from services.common.profile import load_profile
from services.common.settings import Settings
from services.generator.domain import GenerationRecord
from services.generator.pipelines import LoadedModel, load_model

RESULTS = Path(__file__).parent / "results"
LOADS = (0.5, 0.8, 0.95)
QUEUE = 32
"""Pictures of the long queue that capacity and overhead are measured on."""
COMPARED = 12
ALONE, FULL_BATCHES = 6, 3
"""Pictures, and full batches, that what a picture takes is measured on."""


@dataclass(frozen=True)
class Row:
    """One way under one load."""

    mix: str
    load: float
    """Share of the capacity."""
    way: str
    pictures: int
    unfinished: int
    mean_seconds: float
    p95_seconds: float
    pictures_per_second: float
    """While pictures were asked for or still made."""
    difference: float
    """To the stock pipeline alone, mean absolute, of 255."""


def main() -> None:
    """Runs all and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each way's run under each load")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model(load_profile("embedded").generators[0], Settings(device="cpu"))
    ways: dict[str, Callable[[], Server]] = {
        "step": lambda: StepServer(model),
        "request": lambda: PipelineServer(model.family.pipeline, model.max_batch),
        "stock": lambda: PipelineServer(model.family.pipeline, 1),
    }

    @functools.cache
    def alone(record: GenerationRecord) -> Image.Image:
        return run(model.family.pipeline, [record])[0]

    rows: list[Row] = []
    costs: list[dict[str, float]] = []
    queues: dict[str, dict[str, float]] = {}
    for mix in ("alike", "mixed"):
        queues[mix] = long_queue(model, ways, requests(model, mix, QUEUE, seed=0))
        for load in LOADS:
            rate = load * queues[mix]["request_pictures_per_second"]
            arrivals = poisson(rate, options.seconds, seed=int(100 * load))
            records = requests(model, mix, len(arrivals), seed=1)
            for way, start in ways.items():
                is_simulated = (mix, way) == ("alike", "step")
                before = picture_seconds(start, records, model.max_batch) if is_simulated else {}
                rows.append(under_load(mix, load, way, start, arrivals, records, alone))
                after = picture_seconds(start, records, model.max_batch) if is_simulated else {}
                if is_simulated:
                    costs.append({"load": load} | {name: (before[name] + after[name]) / 2 for name in before})
                Console().print(f"{mix} {load} {way}: mean {rows[-1].mean_seconds:.2f} s")
    summary = {"queues": queues, "costs": costs, "ratios": ratios(rows), "setting": setting(options, model)}
    write(options.out, rows, summary)
    show(rows, queues)


def long_queue(
    model: LoadedModel, ways: dict[str, Callable[[], Server]], records: Sequence[GenerationRecord]
) -> dict[str, float]:
    """Throughput of each way when all is asked for at once, and the step engine's overhead over its bare calls."""
    found = {}
    for way, start in ways.items():
        server = start()
        with bare_calls(model) as bare:
            asyncio.run(make_all(server, records[:4]))
            bare.seconds = 0.0
            began = time.perf_counter()
            asyncio.run(make_all(server, records))
            spent = time.perf_counter() - began
        server.close()
        found[f"{way}_pictures_per_second"] = len(records) / spent
        if way == "step":
            found["step_overhead"] = spent / bare.seconds - 1
    return found


def picture_seconds(start: Callable[[], Server], records: Sequence[GenerationRecord], most: int) -> dict[str, float]:
    """What a picture takes where each is alone, and where they wait in a queue of full batches."""
    server = start()
    asyncio.run(make_all(server, records[:4]))
    began = time.perf_counter()
    for record in records[:ALONE]:
        asyncio.run(make_all(server, [record]))
    alone = time.perf_counter()
    asyncio.run(make_all(server, records[: FULL_BATCHES * most]))
    full = time.perf_counter()
    server.close()
    return {"alone_seconds": (alone - began) / ALONE, "full_seconds": (full - alone) / (FULL_BATCHES * most)}


def under_load(
    mix: str,
    load: float,
    way: str,
    start: Callable[[], Server],
    arrivals: Sequence[float],
    records: Sequence[GenerationRecord],
    alone: Callable[[GenerationRecord], Image.Image],
) -> Row:
    """One way while pictures are asked for at their times; `alone` gives the stock pipeline's."""
    server = start()
    asyncio.run(make_all(server, records[:4]))
    latencies, pictures, seconds = asyncio.run(_serve(server, arrivals, records))
    server.close()
    finished = [index for index, picture in enumerate(pictures) if picture is not None]
    compared = [index for index in finished if index < COMPARED]
    return Row(
        mix=mix,
        load=load,
        way=way,
        pictures=len(records),
        unfinished=len(records) - len(finished),
        mean_seconds=statistics.fmean(latencies),
        p95_seconds=float(np.quantile(latencies, 0.95)),
        pictures_per_second=len(finished) / seconds,
        difference=statistics.fmean(difference(pictures[index], alone(records[index])) for index in compared),
    )


async def _serve(
    server: Server, arrivals: Sequence[float], records: Sequence[GenerationRecord]
) -> tuple[list[float], list[Image.Image | None], float]:
    """Latencies, pictures, and seconds until the last one; all end at twice the time of the last arrival."""
    began = time.perf_counter()
    until = 2 * arrivals[-1]

    async def ask(at: float, record: GenerationRecord) -> tuple[float, Image.Image | None]:
        await asyncio.sleep(began + at - time.perf_counter())
        try:
            async with asyncio.timeout(began + until - time.perf_counter()):
                picture = await server.make(record)
        except TimeoutError:
            return until - at, None
        return time.perf_counter() - began - at, picture

    made = await asyncio.gather(*(ask(at, record) for at, record in zip(arrivals, records, strict=True)))
    return [latency for latency, _ in made], [picture for _, picture in made], time.perf_counter() - began


def difference(one: Image.Image | None, other: Image.Image) -> float:
    """Mean absolute pixel difference, of 255."""
    return float(np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)).mean())


def ratios(rows: Sequence[Row]) -> list[dict[str, float | str]]:
    """The step-level engine by request-level batching."""
    by = {(row.mix, row.load, row.way): row for row in rows}
    return [
        {
            "mix": row.mix,
            "load": row.load,
            "mean_seconds": row.mean_seconds / by[row.mix, row.load, "request"].mean_seconds,
            "p95_seconds": row.p95_seconds / by[row.mix, row.load, "request"].p95_seconds,
            "pictures_per_second": row.pictures_per_second / by[row.mix, row.load, "request"].pictures_per_second,
        }
        for row in rows
        if row.way == "step"
    ]


def setting(options: argparse.Namespace, model: LoadedModel) -> dict[str, object]:
    """What the rows were measured on."""
    return {
        "seconds": options.seconds,
        "threads": options.threads,
        "model": model.card.id,
        "revision": model.card.revision,
        "picture_pixels": [model.card.limits.width_pixels, model.card.limits.height_pixels],
        "max_batch": model.max_batch,
        "precision": "float32",
        "alike": {"steps": model.card.limits.default_steps, "scheduler": model.card.limits.schedulers[0]},
        "mixed": {"steps": MIXED_STEPS, "schedulers": MIXED_SCHEDULERS, "guidance_scales": MIXED_SCALES},
        "queue_pictures": QUEUE,
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0],
    }


def write(folder: Path, rows: Sequence[Row], summary: dict[str, object]) -> None:
    """Rows as CSV, rows and summary as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{name: _rounded(value) for name, value in asdict(row).items()} for row in rows]
    with (folder / "generation_load.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    text = json.dumps({"rows": lines, **summary}, indent=1)
    (folder / "generation_load.json").write_text(text + "\n", encoding="utf-8")


def show(rows: Sequence[Row], queues: dict[str, dict[str, float]]) -> None:
    """Prints the rows as a table."""
    table = Table(*asdict(rows[0]))
    for row in rows:
        table.add_row(*(str(_rounded(value)) for value in asdict(row).values()))
    console = Console()
    console.print(table)
    for mix, found in queues.items():
        console.print(mix, *(f"{name} {value:.3f}" for name, value in found.items()))


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
