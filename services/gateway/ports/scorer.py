"""The scorer: embeddings, scores, and heads of personal metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.errors import NotFoundError, Reason
from services.common.heads import Head
from services.gateway.domain import Score
from services.gateway.ports.models import ModelInfo
from services.gateway.profiles.model import FitReport


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
