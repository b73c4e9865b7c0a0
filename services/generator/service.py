"""The generator as one object: models, engine, checks and PNG files. No transport."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self

import torch
from PIL import Image

from services.common import tracing
from services.common.errors import Reason, UnavailableError
from services.common.profile import Profile
from services.common.settings import Settings
from services.common.telemetry import get_logger
from services.generator.catalog import Catalog, Memory, load_catalog
from services.generator.domain import NO_HURRY, EngineItem, GenerationRecord, ItemRequest, ModelStatus, Urgency
from services.generator.engine.base import (
    Engine,
    EngineEvent,
    EngineStats,
    Failed,
    Finished,
    Preview,
    Queued,
    Started,
    StepDone,
)
from services.generator.engine.step_engine import StepEngine
from services.generator.initial_images import with_initial_images, with_kept_pixels
from services.generator.previews import preview_jpeg
from services.generator.records import png_with_record
from services.generator.residency import Residency
from services.generator.validation import check_request, resolve

log = get_logger(__name__)


@dataclass(frozen=True)
class PreviewDone:
    """A picture as it stands after step `step`, as a JPEG of at most 256 pixels a side."""

    item_id: str
    step: int
    jpeg: bytes


@dataclass(frozen=True)
class ImageDone:
    """A finished picture as a PNG that carries its record."""

    item_id: str
    png: bytes
    record: GenerationRecord
    prompt_truncated: bool


GenerationEvent = Queued | Started | StepDone | PreviewDone | ImageDone | Failed


class GeneratorService:
    """Makes pictures."""

    def __init__(self, catalog: Catalog, engine: Engine, memory: Memory | None = None) -> None:
        """Takes models, and the engine that has the loaded ones; without `memory` these are all there ever are."""
        self._catalog = catalog
        self._engine = engine
        self._residency = Residency(catalog, engine, memory)

    @classmethod
    def start(cls, settings: Settings, profile: Profile) -> Self:
        """Loads and warms up the profile's models and starts the engine; afterwards the first request is fast.

        Under a memory budget those are loaded for which there is room; a request for another loads it, see
        `residency.py`. A model that cannot be loaded does not stop the others; requests for it, and `list_models` when
        there is no other, say what is missing.

        Raises:
            InvalidInputError: a model is larger than the whole memory budget.
        """
        # Ray sets OMP_NUM_THREADS to the CPUs it books for the replica, which is less than what torch may use.
        torch.set_num_threads(settings.torch_threads or len(os.sched_getaffinity(0)))
        started = load_catalog(profile, settings)
        return cls(started.catalog, StepEngine(started.loaded), started.memory)

    async def generate(
        self, request_id: str, model_id: str, items: Sequence[ItemRequest], urgency: Urgency = NO_HURRY
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Streams the events of all items. Closing the iterator cancels the items that have not ended.

        Args:
            request_id: Caller's id, for logs.
            model_id: Model of the profile; empty means its default.
            items: 1 to 64 pictures to make.
            urgency: Which waiting pictures begin first, and until when these are of use. One that still waits when its
                time is over ends with Failed, with DeadlineError.

        Raises:
            InvalidInputError: a field is wrong, or an initial image or mask cannot be taken; nothing was started.
            NotFoundError: MODEL_NOT_FOUND.
            OverloadedError: QUEUE_FULL, also where the queue would keep the pictures past their time, or too many
                requests wait for models that are not loaded.
            DeadlineError: the model was not loaded in time.
            UnavailableError: MODEL_UNAVAILABLE, or the replica is stopping.
        """
        began = time.perf_counter()
        check_request(request_id, items, urgency)
        model = self._catalog.get(model_id)
        work = resolve(items, model.card, model.prompts.is_truncated)
        if any(item.initial_image is not None for item in items):
            # Decoding large pictures takes long: the event loop does not wait for it.
            work = await asyncio.to_thread(with_initial_images, items, work)
        asked = {item.item_id: item for item in work}
        async with self._residency.use(model.card.id, timeout_seconds=_left(urgency, began)):
            submission = self._engine.submit(work, priority=urgency.priority, deadline_seconds=_left(urgency, began))
            log.info("items_accepted", model=model.card.id, items=len(work))
            try:
                async with aclosing(submission.events()) as events:
                    async for event in events:
                        yield await _encoded(event, asked[event.item_id])
            finally:
                submission.cancel()

    def list_models(self) -> list[ModelStatus]:
        """Models and whether they are loaded, the default first.

        Raises:
            UnavailableError: none can be used; says what is missing.
        """
        return self._catalog.statuses()

    def stats(self) -> EngineStats:
        """Load of the engine."""
        return self._engine.stats()

    def check(self) -> None:
        """Raises UnavailableError if the engine has died."""
        if not self._engine.is_alive():
            raise UnavailableError(Reason.BACKEND_UNAVAILABLE, "the denoising engine does not run")

    def close(self) -> None:
        """Stops the engine; open items fail."""
        self._engine.close()


def _left(urgency: Urgency, began: float) -> float | None:
    """Seconds left of a request that began then; None if it has no time limit."""
    limit = urgency.time_limit_seconds
    return None if limit is None else limit - (time.perf_counter() - began)


async def _encoded(event: EngineEvent, item: EngineItem) -> GenerationEvent:
    # Compressing a large picture takes longer than a denoising step: neither engine nor event loop waits for it.
    match event:
        case Preview():
            return PreviewDone(item.item_id, event.step, await asyncio.to_thread(_preview, event.picture, item))
        case Finished():
            with tracing.span("encode", attributes={"likeness.item_id": item.item_id}):
                png = await asyncio.to_thread(_png, event.picture, item)
            return ImageDone(item.item_id, png, item.record, item.prompt_truncated)
        case _:
            return event


def _preview(picture: Image.Image, item: EngineItem) -> bytes:
    return preview_jpeg(with_kept_pixels(item, picture))


def _png(picture: Image.Image, item: EngineItem) -> bytes:
    return png_with_record(with_kept_pixels(item, picture), item.record)
