"""The usual way to serve a diffusers pipeline: waiting requests of equal settings share one call of it.

The base of comparison for the step-level engine. A call runs to its end before the next begins, and pictures can share
one only where steps, scheduler, guidance scale and size are the same. With a batch of one it is a queue before the
stock pipeline.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from PIL import Image

from services.generator import schedulers
from services.generator.domain import GenerationRecord


class Waiting(NamedTuple):
    """A picture to make and where it is awaited."""

    record: GenerationRecord
    future: asyncio.Future[Image.Image]
    loop: asyncio.AbstractEventLoop


class PipelineServer:
    """One thread that runs the oldest waiting request and those that can share its call."""

    def __init__(self, pipeline: Any, max_batch: int) -> None:
        """Starts the thread; nobody else may use the pipeline until `close`."""
        self._pipeline = pipeline
        self._max_batch = max_batch
        self._waiting: list[Waiting] = []
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    async def make(self, record: GenerationRecord) -> Image.Image:
        """The picture of a record."""
        loop = asyncio.get_running_loop()
        waiting = Waiting(record, loop.create_future(), loop)
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()
        return await waiting.future

    def close(self) -> None:
        """Waits for the running call; the waiting ones are dropped."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if self._is_closing:
                    return
                key = _key(self._waiting[0].record)
                batch = [one for one in self._waiting if _key(one.record) == key][: self._max_batch]
                self._waiting = [one for one in self._waiting if one not in batch]
            pictures = run(self._pipeline, [one.record for one in batch])
            for one, picture in zip(batch, pictures, strict=True):
                with suppress(RuntimeError):  # the loop is closed: the run is over, nobody waits any more
                    one.loop.call_soon_threadsafe(_set_result, one.future, picture)


def run(pipeline: Any, records: Sequence[GenerationRecord]) -> list[Image.Image]:
    """Pictures of one call of the stock pipeline, for records of equal settings."""
    first = records[0]
    own = pipeline.scheduler
    pipeline.scheduler = schedulers.build(first.scheduler, own)
    try:
        pictures: list[Image.Image] = pipeline(
            prompt=[record.prompt for record in records],
            negative_prompt=[record.negative_prompt for record in records] if first.negative_prompt else None,
            height=first.height_pixels,
            width=first.width_pixels,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(record.seed) for record in records],
        ).images
    finally:
        pipeline.scheduler = own
    return pictures


def _key(record: GenerationRecord) -> tuple[object, ...]:
    size = (record.width_pixels, record.height_pixels)
    return record.steps, record.scheduler, record.guidance_scale, bool(record.negative_prompt), size


def _set_result(future: asyncio.Future[Image.Image], picture: Image.Image) -> None:
    if not future.done():
        future.set_result(picture)
