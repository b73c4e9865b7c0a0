"""The generator: pictures from prompts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.gateway.domain import GenerationRecord, ItemError, NoisePart
from services.gateway.ports.models import ModelInfo


class Priority(StrEnum):
    """Which waiting pictures the generator begins first."""

    BATCH = "batch"
    NORMAL = "normal"
    INTERACTIVE = "interactive"


@dataclass(frozen=True)
class GenerationItem:
    """One picture to make; None means the model's default."""

    item_id: str
    prompt: str
    seed: int
    negative_prompt: str = ""
    steps: int | None = None
    guidance_scale: float | None = None
    width_pixels: int | None = None
    height_pixels: int | None = None
    scheduler: str = ""
    noise_mix: tuple[NoisePart, ...] = ()
    initial_image: bytes | None = None
    strength: float | None = None
    mask: bytes | None = None
    second_strength: float | None = None
    adapter: str = ""
    adapter_scale: float | None = None
    preview_interval_steps: int = 0
    deterministic: bool = False


@dataclass(frozen=True)
class GenerationProgress:
    """Denoising steps done; both 0 while queued, behind `items_ahead` others. `seconds_left` is an estimate."""

    item_id: str
    step: int
    total_steps: int
    items_ahead: int = 0
    seconds_left: float | None = None


@dataclass(frozen=True)
class GenerationPreview:
    """A picture as it stands after step `step`, as a small JPEG. Comes only for items that ask for previews."""

    item_id: str
    step: int
    jpeg: bytes


@dataclass(frozen=True)
class GeneratedImage:
    """A finished picture as PNG bytes."""

    item_id: str
    data: bytes
    record: GenerationRecord
    prompt_truncated: bool


@dataclass(frozen=True)
class GenerationFailure:
    """An item that failed while the others went on."""

    item_id: str
    error: ItemError


GenerationEvent = GenerationProgress | GenerationPreview | GeneratedImage | GenerationFailure


class GeneratorPort(Protocol):
    """Makes pictures. Closing the iterator (or cancelling its task) cancels the backend call."""

    def generate(
        self,
        items: Sequence[GenerationItem],
        *,
        model: str,
        request_id: str,
        timeout_seconds: float,
        priority: Priority,
    ) -> AsyncIterator[GenerationEvent]:
        """Streams events; every item ends with a GeneratedImage or a GenerationFailure.

        Raises:
            OverloadedError: QUEUE_FULL, with the time after which to try again; the generator's queue has no room, or
                is longer than `timeout_seconds`.
        """
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Generator models, the default first."""
        ...
