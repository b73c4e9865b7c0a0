"""Ways to make the pictures of a GPU benchmark's row: the stock pipeline, and the service's engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.request_level import run
from benchmarks.step_level import StepServer
from services.generator.domain import GenerationRecord, ItemRequest
from services.generator.pipelines import LoadedModel
from services.generator.validation import resolve


@dataclass(frozen=True)
class Made:
    """Pictures of a row, and what they took."""

    pictures: list[Image.Image]
    latencies: list[float]
    seconds: float


def requests(model: LoadedModel, shares: Sequence[float], count: int) -> list[GenerationRecord]:
    """Pictures to ask for, each with a prompt and a seed of its own and, in turn, a share of the default steps."""
    steps = model.card.limits.default_steps
    asked = [
        ItemRequest(str(index), f"a red star {index}", seed=index, steps=round(shares[index % len(shares)] * steps))
        for index in range(count)
    ]
    return [item.record for item in resolve(asked, model.card, model.prompts.is_truncated)]


def warm_up(records: Sequence[GenerationRecord], load: str, max_batch: int) -> list[GenerationRecord]:
    """Short pictures that see every batch of the row: each has one step more, so that one leaves at every step."""
    if load != "queue":
        return [replace(record, steps=2) for record in records]
    return [replace(record, steps=2 + number) for number, record in enumerate(records[:max_batch])]


def flops_of_a_step(model: LoadedModel, record: GenerationRecord) -> int:
    """Operations of the denoiser for a guided picture's step, two to a multiplication."""
    with torch.inference_mode():
        begun = model.family.begin([record])
        with FlopCounterMode(display=False) as counter:
            model.family.predict(begun)
    return int(counter.get_total_flops())


def one_call_each(model: LoadedModel, records: Sequence[GenerationRecord], *, batch: int) -> Made:
    """By calls of the stock pipeline, one after the other."""
    pictures: list[Image.Image] = []
    latencies = []
    began = time.perf_counter()
    for start in range(0, len(records), batch):
        asked = time.perf_counter()
        pictures += run(model.family.pipeline, records[start : start + batch])
        latencies.append(time.perf_counter() - asked)
    return Made(pictures, latencies, time.perf_counter() - began)


def by_engine(model: LoadedModel, records: Sequence[GenerationRecord], *, at_once: int) -> Made:
    """By the service's engine, with so many open requests as long as there are more."""
    places = asyncio.Semaphore(at_once)
    server = StepServer(model)

    async def make(record: GenerationRecord) -> tuple[Image.Image, float]:
        async with places:
            asked = time.perf_counter()
            return await server.make(record), time.perf_counter() - asked

    async def make_all() -> list[tuple[Image.Image, float]]:
        return await asyncio.gather(*(make(record) for record in records))

    try:
        began = time.perf_counter()
        made = asyncio.run(make_all())
        seconds = time.perf_counter() - began
    finally:
        server.close()
    return Made([picture for picture, _ in made], [latency for _, latency in made], seconds)
