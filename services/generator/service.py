"""The generator as one object: models, engine, checks and PNG files. No transport."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self

import torch

from services.common.errors import Reason, UnavailableError
from services.common.profile import Profile
from services.common.settings import Settings
from services.common.telemetry import get_logger
from services.generator.catalog import Catalog, load_catalog
from services.generator.domain import GenerationRecord, ItemRequest, ModelCard
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
from services.generator.initial_images import with_initial_images
from services.generator.previews import preview_jpeg
from services.generator.records import png_with_record
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

    def __init__(self, catalog: Catalog, engine: Engine) -> None:
        self._catalog = catalog
        self._engine = engine

    @classmethod
    def start(cls, settings: Settings, profile: Profile) -> Self:
        """Loads and warms up the profile's models and starts the engine; afterwards the first request is fast.

        A model that cannot be loaded does not stop the others; requests for it, and `list_models` when there is no
        other, say what is missing.
        """
        # Ray sets OMP_NUM_THREADS to the CPUs it books for the replica, which is less than what torch may use.
        torch.set_num_threads(settings.torch_threads or len(os.sched_getaffinity(0)))
        catalog = load_catalog(profile, settings)
        return cls(catalog, StepEngine(catalog.loaded))

    async def generate(
        self, request_id: str, model_id: str, items: Sequence[ItemRequest]
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Streams the events of all items. Closing the iterator cancels the items that have not ended.

        Args:
            request_id: Caller's id, for logs.
            model_id: Model of the profile; empty means its default.
            items: 1 to 64 pictures to make.

        Raises:
            InvalidInputError: a field is wrong or an initial image cannot be taken; nothing was started.
            NotFoundError: MODEL_NOT_FOUND.
            OverloadedError: QUEUE_FULL.
            UnavailableError: MODEL_UNAVAILABLE, or the replica is stopping.
        """
        check_request(request_id, items)
        model = self._catalog.get(model_id)
        work = resolve(items, model.card, model.prompts.is_truncated)
        if any(item.initial_image is not None for item in items):
            # Decoding large pictures takes long: the event loop does not wait for it.
            work = await asyncio.to_thread(with_initial_images, items, work)
        submission = self._engine.submit(work)
        log.info("items_accepted", model=model.card.id, items=len(work))
        try:
            async with aclosing(submission.events()) as events:
                async for event in events:
                    yield await _encoded(event)
        finally:
            submission.cancel()

    def list_models(self) -> list[ModelCard]:
        """Loaded models, the default first.

        Raises:
            UnavailableError: none is loaded; says what is missing.
        """
        return self._catalog.cards()

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


async def _encoded(event: EngineEvent) -> GenerationEvent:
    # Compressing a large picture takes longer than a denoising step: neither engine nor event loop waits for it.
    match event:
        case Preview():
            return PreviewDone(event.item_id, event.step, await asyncio.to_thread(preview_jpeg, event.picture))
        case Finished():
            item = event.item
            png = await asyncio.to_thread(png_with_record, event.picture, item.record)
            return ImageDone(item.item_id, png, item.record, item.prompt_truncated)
        case _:
            return event
