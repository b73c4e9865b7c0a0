"""The service's engine as a benchmark's way to make pictures, what it is asked for, and the time in bare calls."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from PIL import Image

from services.generator.domain import EngineItem, GenerationRecord, ItemRequest
from services.generator.engine.base import Failed, Finished
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from services.generator.validation import resolve

PROMPTS = (
    "a red star",
    "a sailboat, snow",
    "a large green teapot left of a small clock in a starry night, pixel art",
    "a small house",
)
MIXED_STEPS = (8, 10, 10, 16, 25)
MIXED_SCHEDULERS = ("ddim", "ddim", "euler", "euler_ancestral", "dpmpp_2m", "unipc")
MIXED_SCALES = (2.5, 2.5, 4.0, 1.0)


class Server(Protocol):
    """A way to make pictures."""

    async def make(self, record: GenerationRecord) -> Image.Image:
        """The picture of a record."""
        ...

    def close(self) -> None:
        """Stops it."""
        ...


class StepServer:
    """The service's engine."""

    def __init__(self, model: LoadedModel) -> None:
        self._engine = StepEngine({model.card.id: model}, max_waiting_items=1_000_000)

    async def make(self, record: GenerationRecord) -> Image.Image:
        """The picture of a record."""
        submission = self._engine.submit([EngineItem("", record)])
        try:
            async for event in submission.events():
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Finished):
                    return event.picture
        finally:
            submission.cancel()
        raise AssertionError("an item ends with Finished or Failed")

    def close(self) -> None:
        """Stops it."""
        self._engine.close()


def requests(model: LoadedModel, mix: str, count: int, seed: int) -> list[GenerationRecord]:
    """Pictures to ask for; a longer list begins with a shorter one."""
    rng = random.Random(seed)
    asked = []
    for index in range(count):
        one = ItemRequest(str(index), rng.choice(PROMPTS), rng.randrange(2**32))
        if mix == "mixed":
            steps, scheduler, scale = (rng.choice(some) for some in (MIXED_STEPS, MIXED_SCHEDULERS, MIXED_SCALES))
            one = replace(one, steps=steps, scheduler=scheduler, guidance_scale=scale)
        asked.append(one)
    return [item.record for item in resolve(asked, model.card, model.prompts.is_truncated)]


async def make_all(server: Server, records: Sequence[GenerationRecord]) -> None:
    """Asks for all at once and waits for them."""
    await asyncio.gather(*(server.make(record) for record in records))


class Bare:
    """Time in a model's networks."""

    seconds = 0.0


@contextmanager
def bare_calls(model: LoadedModel, clock: Callable[[], float] = time.perf_counter) -> Iterator[Bare]:
    """Adds up the time in text encoder, denoiser and decoder, by a clock in seconds."""
    pipeline, bare = model.family.pipeline, Bare()
    timed = [(pipeline.text_encoder, "forward"), (pipeline.unet, "forward"), (pipeline.vae, "decode")]
    for network, method in timed:
        setattr(network, method, _timed(getattr(network, method), bare, clock))
    try:
        yield bare
    finally:
        for network, method in timed:
            delattr(network, method)


def _timed(call: Callable[..., Any], bare: Bare, clock: Callable[[], float]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = clock()
        result = call(*args, **kwargs)
        bare.seconds += clock() - began
        return result

    return timed
