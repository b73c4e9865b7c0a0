"""Words of evaluations. Plain values; see the contract (evaluation.proto) for their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.gateway.domain import GenerationRecord, ItemError, Score
from services.gateway.profiles.model import PictureInput


class EvaluationState(StrEnum):
    """What an evaluation is doing."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"


class EvaluationSource(StrEnum):
    """Where the items come from."""

    STREAM = "stream"
    MANIFEST = "manifest"


@dataclass(frozen=True)
class GenerationSettings:
    """How pictures are made from prompts; None or empty means the model's default."""

    model: str = ""
    count: int = 1
    seed: int = 0
    steps: int | None = None
    guidance_scale: float | None = None
    width_pixels: int | None = None
    height_pixels: int | None = None
    scheduler: str = ""
    negative_prompt: str = ""
    keep: bool = False


@dataclass(frozen=True)
class EvaluationSettings:
    """How all items are made and scored, defaults filled in. `generation` is None where no item has prompts."""

    metrics: tuple[str, ...]
    generation: GenerationSettings | None = None


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as stored."""

    id: str
    tenant_id: str
    display_name: str
    settings: EvaluationSettings
    source: EvaluationSource
    state: EvaluationState
    create_time: datetime
    update_time: datetime
    committed_offset: int = 0
    done_count: int = 0
    failed_count: int = 0
    total_count: int | None = None
    error: ItemError | None = None
    wait_reason: ItemError | None = None


@dataclass(frozen=True)
class Prompts:
    """Prompts of an item; a seed of None is derived from the settings'."""

    prompts: tuple[str, ...]
    seed: int | None = None


@dataclass(frozen=True)
class EvaluationItem:
    """One thing to evaluate.

    Attributes:
        digest: SHA-256 of the item as it came.
        size_bytes: Size of the item as it came.
        subject: The picture to score, or the prompts to make pictures from; None if the caller sent neither.
    """

    offset: int
    item_id: str
    digest: bytes
    size_bytes: int
    group: str = ""
    system: str = ""
    target: PictureInput | None = None
    text: str = ""
    subject: PictureInput | Prompts | None = None


@dataclass(frozen=True)
class EvaluatedImage:
    """A picture with one score per metric of the settings, or why there is none."""

    scores: tuple[Score, ...] = ()
    error: ItemError | None = None
    record: GenerationRecord | None = None
    content_hash: str = ""
    text_truncated: bool = False


@dataclass(frozen=True)
class EvaluationItemError:
    """Why an item failed; `code` is the status code that a call of its own would have ended with."""

    code: str
    error: ItemError


@dataclass(frozen=True)
class ItemResult:
    """What became of an item. Exactly one of `images` and `error` says it."""

    offset: int
    item_id: str
    group: str
    system: str
    digest: bytes
    images: tuple[EvaluatedImage, ...] = ()
    error: EvaluationItemError | None = None
