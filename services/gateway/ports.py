"""What the gateway needs from outside, as protocols. Implementations: backends/, objects.py, scoring.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.common.errors import NotFoundError, Reason
from services.common.heads import Head
from services.gateway.domain import (
    Aspect,
    Feedback,
    GenerationRecord,
    ItemError,
    NoisePart,
    PromptAttempt,
    PromptEdit,
    ProposedPrompt,
    Score,
    Tree,
)
from services.gateway.profiles.model import FitReport


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


@dataclass(frozen=True)
class GenerationLimits:
    """Allowed and default values of a generator model."""

    default_steps: int
    max_steps: int
    default_guidance_scale: float
    width_pixels: int
    height_pixels: int
    size_multiple_pixels: int
    max_side_pixels: int
    schedulers: tuple[str, ...]
    token_limit: int
    mixes_noise: bool = False
    takes_initial_image: bool = False
    takes_negative_prompt: bool = True
    takes_guidance_scale: bool = True


@dataclass(frozen=True)
class AdapterInfo:
    """A LoRA adapter of a generator model; `absent_reason` says why it cannot be used, empty if it can."""

    id: str
    revision: str
    license: str
    absent_reason: str = ""


class LoadState(StrEnum):
    """Whether a backend has a model in memory."""

    UNSPECIFIED = "unspecified"
    """The backend keeps all its models loaded."""
    LOADED = "loaded"
    LOADING = "loading"
    NOT_LOADED = "not_loaded"
    """The next request loads it."""
    FAILED = "failed"


@dataclass(frozen=True)
class ModelInfo:
    """A model of a backend; role is "generator", "embedder" or "language"."""

    id: str
    revision: str
    role: str
    source: str
    embedded: bool
    license: str
    limits: GenerationLimits | None = None
    adapters: tuple[AdapterInfo, ...] = ()
    load_state: LoadState = LoadState.UNSPECIFIED
    load_problem: str = ""
    """Why it could not be loaded; empty unless the state is FAILED."""
    size_bytes: int = 0
    """Of its parameters; 0 if the backend does not say."""


@dataclass(frozen=True)
class MetricInfo:
    """A metric of the scorer. `input` is "image-image", "text-image" or "image"."""

    id: str
    revision: str
    description: str
    input: str
    higher_is_better: bool
    minimum: float | None
    maximum: float | None
    preprocessing: str
    embedding_model: str
    token_limit: int | None
    embedded: bool
    license: str


@dataclass(frozen=True)
class MetricCatalog:
    """Metrics that the scorer offers, by id, and why each other one that it knows is absent."""

    offered: dict[str, MetricInfo]
    absent: dict[str, str]

    def find(self, id_: str, *, field: str) -> MetricInfo:
        """A metric; NotFoundError(METRIC_NOT_FOUND) names the offered ids, and what an absent one lacks."""
        if id_ not in self.offered:
            hint = self.absent.get(id_, "")
            raise NotFoundError(Reason.METRIC_NOT_FOUND, "metric", id_, field=field, known=self.offered, hint=hint)
        return self.offered[id_]


@dataclass(frozen=True)
class StrategyInfo:
    """A strategy of the refiner."""

    id: str
    revision: str
    description: str
    embedded: bool


@dataclass(frozen=True)
class EmbeddingVector:
    """An embedding as raw little-endian float32 bytes."""

    model: str
    revision: str
    preprocessing: str
    dimensions: int
    data: bytes


@dataclass(frozen=True)
class ScoreSubject:
    """A picture to score by bytes and/or known embeddings."""

    data: bytes | None
    embeddings: tuple[EmbeddingVector, ...] = ()


@dataclass(frozen=True)
class DifferenceVector:
    """What an LPIPS backbone says of a target and a picture: little-endian float16 values, 256 times the difference."""

    metric: str
    backbone_revision: str
    preprocessing: str
    dimensions: int
    data: bytes


@dataclass(frozen=True)
class RankedDifferences:
    """A person's order of the pictures of one target; the smallest place is the most similar, equal places are ties."""

    target: str
    differences: tuple[DifferenceVector, ...]
    places: tuple[float, ...]


@dataclass(frozen=True)
class FitOutcome:
    """The head to use from now on, and how it was found."""

    head: Head
    report: FitReport


@dataclass(frozen=True)
class CandidateScores:
    """Scores of one candidate in the order of the metrics asked for."""

    scores: tuple[Score, ...]
    text_truncated: bool = False


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


class ScorerPort(Protocol):
    """Embeds and scores pictures."""

    async def embed(self, model: str, images: Sequence[bytes], *, request_id: str) -> list[EmbeddingVector]:
        """Embeddings in order."""
        ...

    async def score(
        self,
        *,
        target: ScoreSubject | None,
        text: str,
        candidates: Sequence[ScoreSubject],
        metrics: Sequence[str],
        request_id: str,
    ) -> list[CandidateScores]:
        """Scores in the order of the candidates."""
        ...

    async def compare(
        self, metric: str, target: bytes, candidates: Sequence[bytes], *, request_id: str
    ) -> list[DifferenceVector]:
        """Difference vectors in the order of the candidates; NotFoundError(METRIC_NOT_FOUND) for a metric without."""
        ...

    async def get_head(self, metric: str) -> Head:
        """Published head of an LPIPS metric; NotFoundError(METRIC_NOT_FOUND) for a metric without."""
        ...

    async def fit_head(
        self, parent: Head, rankings: Sequence[RankedDifferences], *, tastes: Sequence[Head] = (), request_id: str
    ) -> FitOutcome:
        """Learns from all rankings of a person, guarded by what it held out."""
        ...

    async def list_metrics(self) -> MetricCatalog:
        """Metrics of the deployment."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Embedding models of the deployment."""
        ...


class ProfileHeads(Protocol):
    """Heads of personal metrics, for scoring."""

    async def active_head(self, tenant_id: str, profile_id: str, *, field: str) -> Head:
        """Head of a profile's active version; NotFoundError(PROFILE_NOT_FOUND), blamed on `field`."""
        ...


class RefinerPort(Protocol):
    """The four verbs."""

    async def understand(self, strategy: str, image: bytes, *, request_id: str) -> tuple[Tree, str]:
        """Tree and first prompt."""
        ...

    async def propose(
        self,
        strategy: str,
        *,
        target: bytes,
        tree: Tree | None,
        base_prompt: str,
        round_number: int,
        prompt_count: int,
        aspect: Aspect | None,
        history: Sequence[PromptAttempt],
        seed: int,
        request_id: str,
    ) -> list[ProposedPrompt]:
        """Prompts of a round, at most prompt_count."""
        ...

    async def critique(
        self,
        strategy: str,
        *,
        target: bytes,
        best: bytes,
        best_prompt: str,
        tree: Tree | None,
        aspect: Aspect | None,
        round_number: int,
        request_id: str,
    ) -> tuple[Feedback, float]:
        """Feedback and the critic's agreement, 0..1."""
        ...

    async def revise(
        self, strategy: str, prompt: str, feedback: Feedback, *, request_id: str
    ) -> tuple[str, tuple[PromptEdit, ...]]:
        """Revised prompt and what changed."""
        ...

    async def list_strategies(self) -> list[StrategyInfo]:
        """Strategies of the deployment."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Language and captioning models."""
        ...


class ObjectStore(Protocol):
    """Bytes by SHA-256."""

    async def put(self, data: bytes) -> str:
        """Stores bytes durably (idempotent) and returns their content hash."""
        ...

    async def get(self, content_hash: str) -> bytes:
        """Bytes of a hash; NotFoundError(IMAGE_NOT_FOUND) if absent."""
        ...

    async def delete(self, content_hash: str) -> None:
        """Removes bytes; absent is fine."""
        ...

    async def check(self) -> None:
        """Raises UnavailableError(OBJECT_STORE_UNAVAILABLE) if it cannot be written to."""
        ...
