"""Pictures of items that come as prompts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import aclosing

from services.common.errors import DeadlineError, Reason
from services.gateway.domain import ItemError
from services.gateway.evaluations.model import EvaluationItem, GenerationSettings, Prompts
from services.gateway.generation import FinishedImage, GenerationInput, ImageGeneration
from services.gateway.loops.retry import RetryPolicy, retried
from services.gateway.ports import Priority

MAX_CALLS = 8
"""Calls to the generator that are under way for evaluations of this gateway."""
_SEED_BYTES = 6
"""Short enough to be exact in every client's numbers."""


class PromptPictures:
    """Makes the pictures of items."""

    def __init__(self, generation: ImageGeneration, *, retry: RetryPolicy) -> None:
        self._generation = generation
        self._retry = retry
        self._calls = asyncio.Semaphore(MAX_CALLS)

    async def make(
        self, item: EvaluationItem, prompts: Prompts, settings: GenerationSettings, *, tenant_id: str, call_id: str
    ) -> list[FinishedImage | ItemError]:
        """Pictures in the order of prompts and seeds, or why one cannot be made.

        Raises:
            InvalidInputError: the generator does not take a value of the settings.
            LikenessError: the generator, or a store, does not answer, although it was asked again.
        """
        asked = [
            GenerationInput(
                prompt=prompt,
                negative_prompt=settings.negative_prompt,
                seed=seed_of(item.item_id, number, settings.seed) if prompts.seed is None else prompts.seed,
                count=settings.count,
                steps=settings.steps,
                guidance_scale=settings.guidance_scale,
                width_pixels=settings.width_pixels,
                height_pixels=settings.height_pixels,
                scheduler=settings.scheduler,
                model=settings.model,
                keep=settings.keep,
                priority=Priority.BATCH,
            )
            for number, prompt in enumerate(prompts.prompts)
        ]
        made = [await retried(self._retry, lambda one=one: self._call(one, tenant_id, call_id)) for one in asked]  # type: ignore[misc]
        return [picture for pictures in made for picture in pictures]

    async def _call(self, asked: GenerationInput, tenant_id: str, call_id: str) -> Sequence[FinishedImage | ItemError]:
        pictures: dict[int, FinishedImage | ItemError] = {}
        async with self._calls:
            updates = self._generation.generate(tenant_id, asked, call_id=call_id, timeout_seconds=None)
            async with aclosing(updates):
                async for update in updates:
                    if isinstance(update.event, ItemError) and update.event.reason == Reason.DEADLINE_EXCEEDED.value:
                        # Time was short, the picture is not at fault.
                        raise DeadlineError(Reason.DEADLINE_EXCEEDED, update.event.message)
                    if isinstance(update.event, FinishedImage | ItemError):
                        pictures[update.number] = update.event
        return [pictures[number] for number in sorted(pictures)]


def seed_of(item_id: str, prompt_number: int, seed: int) -> int:
    """Seed of an item's prompt that has none: the same for the same item under every system."""
    digest = hashlib.sha256(f"likeness-evaluate:{seed}:{prompt_number}:{item_id}".encode()).digest()
    return int.from_bytes(digest[:_SEED_BYTES], "big")
