"""Evaluations: many items scored by the same metrics, their results, and reports about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from likeness._types.images import GenerationRecord, ImageSource
from likeness._types.scores import ItemError, Score


class EvaluationState(StrEnum):
    """What an evaluation is doing. UNKNOWN stands for a state that a newer server may send."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNKNOWN = "unknown"


class ManifestFormat(StrEnum):
    """What a manifest is; left out, the gateway tells it from the bytes."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    WEBDATASET = "webdataset"


@dataclass(frozen=True)
class EvaluationSettings:
    """How all items are made and scored. The numbers of generation are None where the model's default holds.

    Attributes:
        makes_pictures: Whether items may have prompts; what follows says how their pictures are made.
        images: Pictures a prompt.
        keep: Whether the pictures are stored for good.
    """

    metrics: tuple[str, ...]
    makes_pictures: bool = False
    model: str = ""
    images: int = 1
    seed: int = 0
    steps: int | None = None
    guidance_scale: float | None = None
    width_pixels: int | None = None
    height_pixels: int | None = None
    scheduler: str = ""
    negative_prompt: str = ""
    keep: bool = False


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as it stands.

    Attributes:
        name: Resource name, "evaluations/{id}".
        done_count: Items with a result, failed ones included.
        failed_count: Items whose result is an error.
        total_count: Items of the manifest; None for a stream, and until the manifest is counted.
        committed_offset: Every item below it has a result.
        error: Why it failed.
        wait_reason: What a pending job waits for that has begun, such as QUOTA_EXCEEDED: it goes on by itself.
    """

    name: str
    display_name: str
    settings: EvaluationSettings
    state: EvaluationState
    create_time: datetime
    update_time: datetime
    done_count: int
    failed_count: int
    total_count: int | None
    committed_offset: int
    error: ItemError | None = None
    wait_reason: ItemError | None = None

    @property
    def id(self) -> str:
        """The part of the name after the slash."""
        return self.name.removeprefix("evaluations/")

    @property
    def is_over(self) -> bool:
        """Whether nobody works on it any more."""
        return self.state not in (EvaluationState.PENDING, EvaluationState.RUNNING)


@dataclass(frozen=True)
class EvaluationItem:
    """One thing to evaluate: a picture, or prompts to make pictures from.

    Attributes:
        item_id: Your name of what is evaluated, 1 to 200 characters; reports pair the items of two systems by it.
        image: Picture to score.
        prompts: 1 to 16 prompts, in place of a picture.
        target: Needed by metrics that compare two pictures.
        text: For metrics that read text; the prompt that a picture was made from if left out.
        group: What reports aggregate by, such as a style.
        system: What is compared in reports, such as a generator.
        seed: Of the first picture of each prompt; derived from the options' if left out.
    """

    item_id: str
    image: ImageSource | None = None
    prompts: Sequence[str] = ()
    target: ImageSource | None = None
    text: str = ""
    group: str = ""
    system: str = ""
    seed: int | None = None


@dataclass(frozen=True)
class EvaluatedImage:
    """A picture of an item: its scores in the order of the metrics, or why there is none.

    Attributes:
        record: How it was made; None for a picture that came with the item.
        content_hash: SHA-256 of its bytes; empty for one that came with the item as bytes.
        text_truncated: Whether a text was longer than a metric, or a prompt longer than the generator, reads.
    """

    scores: tuple[Score, ...]
    error: ItemError | None = None
    record: GenerationRecord | None = None
    content_hash: str = ""
    text_truncated: bool = False


@dataclass(frozen=True)
class EvaluationResult:
    """What became of an item. `code` is the status code that its error stands for, "" without an error.

    Attributes:
        replayed: Whether it was stored before the item was sent (again).
    """

    offset: int
    item_id: str
    group: str
    system: str
    images: tuple[EvaluatedImage, ...] = ()
    code: str = ""
    error: ItemError | None = None
    replayed: bool = False


@dataclass(frozen=True)
class EvaluationMean:
    """Mean raw value of one metric in one group under one system, and its 95 % interval.

    Attributes:
        group: Empty for all items together.
        count: Items with a value; an item with several pictures counts once, with their mean.
        failed_count: Items without one.
    """

    group: str
    system: str
    metric: str
    count: int
    failed_count: int
    mean: float | None
    low: float | None
    high: float | None
    higher_is_better: bool


@dataclass(frozen=True)
class EvaluationComparison:
    """A system against the baseline over the items that both have.

    Attributes:
        group: Empty for all items together.
        difference: Mean of system less baseline, raw, with its 95 % interval.
        p: Two-sided, of the paired t-test; None where it is undefined.
        wins: Items where the system is better, by the metric's direction.
    """

    group: str
    metric: str
    baseline: str
    system: str
    pair_count: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation in figures, all groups together first."""

    evaluation: Evaluation
    means: tuple[EvaluationMean, ...]
    comparisons: tuple[EvaluationComparison, ...]
