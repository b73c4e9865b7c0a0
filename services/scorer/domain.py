"""Words of the scorer: what is asked and what is answered. Plain values; no transport, no torch."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.heads import Recipe
from services.scorer.metrics.base import MetricSpec, Value


@dataclass(frozen=True)
class KnownEmbedding:
    """A vector as it travels: little-endian float32 bytes."""

    model: str
    revision: str
    preprocessing: str
    dimensions: int
    data: bytes


@dataclass(frozen=True)
class Subject:
    """A picture by encoded bytes and/or embeddings known before; `field` is its place in the request."""

    field: str
    data: bytes | None
    embeddings: tuple[KnownEmbedding, ...] = ()


@dataclass(frozen=True)
class ScoreQuery:
    """What to score."""

    target: Subject | None
    text: str
    candidates: tuple[Subject, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class ItemFailure:
    """Why one metric failed for one candidate; `reason` is a value of services.common.errors.Reason."""

    reason: str
    message: str


@dataclass(frozen=True)
class Score:
    """A metric's value for a candidate, or why there is none."""

    metric: MetricSpec
    outcome: Value | ItemFailure
    text_truncated: bool = False
    """Whether the metric left the text's end out."""


@dataclass(frozen=True)
class CandidateScores:
    """Scores of one candidate in the order of the metrics asked for."""

    scores: tuple[Score, ...]


@dataclass(frozen=True)
class DifferenceVector:
    """What an LPIPS backbone says of a pair, as it travels: little-endian float16 values, 256 times the difference."""

    metric: str
    backbone_revision: str
    preprocessing: str
    dimensions: int
    data: bytes


@dataclass(frozen=True)
class RankedDifferences:
    """A person's order of the pictures of one target, as sent; `field` is its place in the request."""

    field: str
    target: str
    differences: tuple[DifferenceVector, ...]
    places: tuple[float, ...]


@dataclass(frozen=True)
class SentHead:
    """A head as sent, not yet checked; `field` is its place in the request."""

    field: str
    metric: str
    backbone_revision: str
    layer_channels: tuple[int, ...]
    weights: bytes
    """Little-endian float32."""
    recipe: Recipe
    parent_revision: str
    revision: str
    """Digest to check; empty if none was given."""


@dataclass(frozen=True)
class FitQuery:
    """What to learn from."""

    parent: SentHead
    rankings: tuple[RankedDifferences, ...]
    tastes: tuple[SentHead, ...]
