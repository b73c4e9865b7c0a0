"""The generator for a long time under callers that come, cancel, and read slowly: does anything stay behind.

    python -m benchmarks.generator_soak [--seconds 600] [--callers 100] [--threads 2]

Each caller asks the service for one to three pictures of the embedded model at a time, as random as can be: steps,
size, scheduler, guidance, seed, previews, deterministic ones, initial images, priorities, time limits. Some leave in
the middle, some read slowly. When the time is over nobody asks again and what is open comes to its end; then there must
be no open slot and no task, and memory must be where it was.

Resident memory is sampled every 5 s. What is there after the first quarter of the run, caches filled, is compared with
the end, and the slope is that of a straight line through the samples since then. The row goes to
benchmarks/results/generator_soak.csv, and with the samples to generator_soak.json.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import os
import platform
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from rich.console import Console

from services.common.errors import CancelledError, DeadlineError, OverloadedError
from services.common.profile import load_profile
from services.common.settings import MEBIBYTE, Settings
from services.generator.domain import GenerationLimits, ItemRequest, Priority, Urgency
from services.generator.engine.base import Failed
from services.generator.service import GeneratorService, ImageDone

RESULTS = Path(__file__).parent / "results"
SAMPLE_SECONDS = 5.0
WARM_UP_PART = 0.25
SETTLE_SECONDS = 60.0
"""How long the engine may take to see that nobody wants anything any more."""
PROMPTS = ("a red star", "a blue boat, snow background", "two green cups, starry night background", "a small house")
STEPS = (1, 12)
LEAVE, TASK_CANCELLED, SLOW = 0.2, 0.1, 0.15
"""Parts of the calls that are closed in the middle, whose task is cancelled, and that are read slowly."""


@dataclass(frozen=True)
class Row:
    """One run. Memory in MiB."""

    seconds: float
    callers: int
    pictures_asked: int
    finished: int
    cancelled: int
    """By their caller, seen by it or not."""
    too_late: int
    """Pictures whose time was over while they waited."""
    failed: int
    calls_refused: int
    """No room in the queue, or not in time; asked again."""
    pictures_per_second: float
    rss_start: float
    rss_warm: float
    rss_end: float
    rss_slope_per_minute: float
    """After the warm-up."""
    slots_at_end: int
    tasks_at_end: int


@dataclass
class Counts:
    """What became of calls and pictures so far."""

    asked: int = 0
    refused: int = 0
    ended: Counter[str] = field(default_factory=Counter)


async def soak(
    service: GeneratorService,
    limits: GenerationLimits,
    *,
    seconds: float,
    callers: int,
    seed: int,
    sample_seconds: float,
) -> tuple[Row, list[tuple[float, float]]]:
    """Runs all callers to their end.

    Args:
        service: Nobody else uses it.
        limits: Of its default model.
        seconds: How long new pictures are asked for.
        callers: How many ask at once.
        seed: Of everything random.
        sample_seconds: Between two samples of memory.

    Returns:
        The row, and samples of (seconds since the beginning, resident memory in MiB).
    """
    counts, began = Counts(), time.perf_counter()
    start = _rss()
    sampling = asyncio.create_task(_sample(began, sample_seconds))
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(_caller(service, limits, random.Random(f"{seed}/{number}"), began + seconds, counts))
    spent = time.perf_counter() - began
    sampling.cancel()
    (samples,) = await asyncio.gather(sampling)
    async with asyncio.timeout(SETTLE_SECONDS):
        while _slots(service):
            await asyncio.sleep(0.01)
    samples.append((spent, _rss()))
    warm = [sample for sample in samples if sample[0] >= WARM_UP_PART * seconds]
    row = Row(
        seconds=spent,
        callers=callers,
        pictures_asked=counts.asked,
        finished=counts.ended["finished"],
        cancelled=counts.asked - sum(counts.ended[name] for name in ("finished", "too late", "failed")),
        too_late=counts.ended["too late"],
        failed=counts.ended["failed"],
        calls_refused=counts.refused,
        pictures_per_second=counts.ended["finished"] / spent,
        rss_start=start,
        rss_warm=warm[0][1],
        rss_end=samples[-1][1],
        rss_slope_per_minute=60 * float(np.polyfit(*np.transpose(warm), 1)[0]) if len(warm) > 1 else 0.0,
        slots_at_end=_slots(service),
        tasks_at_end=len(asyncio.all_tasks()) - 1,
    )
    return row, samples


async def _caller(
    service: GeneratorService, limits: GenerationLimits, rng: random.Random, until: float, counts: Counts
) -> None:
    """Asks again and again; some calls are cancelled from outside, as a server does it whose client is gone."""
    number = 0
    while time.perf_counter() < until:
        number += 1
        call = asyncio.create_task(_call(service, limits, rng, f"soak-{number}", counts))
        if rng.random() < TASK_CANCELLED:
            await asyncio.wait([call], timeout=rng.uniform(0, 5))
            call.cancel()
        await asyncio.wait([call])
        if not call.cancelled() and isinstance(error := call.exception(), OverloadedError):
            counts.refused += 1
            await asyncio.sleep(min(error.retry_after_seconds or 1.0, 1.0) * rng.uniform(0.5, 1.5))
        elif not call.cancelled():
            call.result()


async def _call(
    service: GeneratorService, limits: GenerationLimits, rng: random.Random, request_id: str, counts: Counts
) -> None:
    """One call: read to its end, left in the middle, or read slowly."""
    items = [_item(limits, rng, str(index)) for index in range(rng.randint(1, 3))]
    urgency = Urgency(rng.choice([*Priority]), rng.choice([None, None, 600.0, rng.uniform(1, 60)]))
    patience = rng.randint(1, 12) if rng.random() < LEAVE else None
    pause = rng.uniform(0, 0.5) if rng.random() < SLOW else 0.0
    is_accepted = False
    async with aclosing(service.generate(request_id, "", items, urgency)) as events:
        async for event in events:
            counts.asked += 0 if is_accepted else len(items)
            is_accepted = True
            match event:
                case ImageDone():
                    counts.ended["finished"] += 1
                case Failed(_, DeadlineError()):
                    counts.ended["too late"] += 1
                case Failed(_, error) if not isinstance(error, CancelledError):
                    counts.ended["failed"] += 1
            if patience is not None:
                patience -= 1
                if not patience:
                    return
            await asyncio.sleep(pause)


def _item(limits: GenerationLimits, rng: random.Random, item_id: str) -> ItemRequest:
    steps = rng.randint(*STEPS)
    native, multiple = limits.width_pixels, limits.size_multiple_pixels
    sides = [native, native, max(native // 2 // multiple * multiple, multiple)]
    starts = limits.takes_initial_image and rng.random() < 0.1
    return ItemRequest(
        item_id,
        rng.choice(PROMPTS),
        rng.randrange(2**32),
        steps=steps,
        guidance_scale=rng.choice([None, 1.0]) if limits.takes_guidance_scale else None,
        width_pixels=rng.choice(sides),
        height_pixels=rng.choice(sides),
        scheduler=rng.choice(limits.schedulers),
        preview_interval_steps=rng.choice([0, 0, 1, 4]),
        deterministic=rng.random() < 0.15,
        initial_image=_picture(rng) if starts else None,
        strength=1.0 if starts else None,
    )


def _picture(rng: random.Random) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 48), (rng.randrange(256), rng.randrange(256), rng.randrange(256))).save(data, "PNG")
    return data.getvalue()


async def _sample(began: float, sample_seconds: float) -> list[tuple[float, float]]:
    """Samples of memory until it is cancelled."""
    samples = []
    try:
        while True:
            samples.append((time.perf_counter() - began, _rss()))
            await asyncio.sleep(sample_seconds)
    except asyncio.CancelledError:
        return samples


def _rss() -> float:
    return float(psutil.Process().memory_info().rss) / MEBIBYTE


def _slots(service: GeneratorService) -> int:
    stats = service.stats()
    return stats.waiting_items + stats.running_items


def main() -> None:
    """Runs it and writes the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--callers", type=int, default=100)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    profile = load_profile("embedded")
    service = GeneratorService.start(Settings(device="cpu", torch_threads=options.threads), profile)
    card = service.list_models()[0].card
    assert card is not None
    row, samples = asyncio.run(
        soak(
            service,
            card.limits,
            seconds=options.seconds,
            callers=options.callers,
            seed=options.seed,
            sample_seconds=SAMPLE_SECONDS,
        )
    )
    service.close()
    setting = {
        "model": card.id,
        "revision": card.revision,
        "threads": options.threads,
        "seed": options.seed,
        "precision": "float32",
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0],
    }
    write(options.out, row, samples, setting)
    Console().print(row)


def write(folder: Path, row: Row, samples: Sequence[tuple[float, float]], setting: dict[str, object]) -> None:
    """The row as CSV; row, samples and setting as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    line = {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(row).items()}
    with (folder / "generator_soak.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(line))
        writer.writeheader()
        writer.writerow(line)
    memory = [{"seconds": round(seconds, 1), "rss": round(rss, 1)} for seconds, rss in samples]
    text = json.dumps({"row": line, "samples": memory, "setting": setting}, indent=1)
    (folder / "generator_soak.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
