"""Kinds of metric beside those of base.py: a text read together with the picture, and a picture by itself.

Metric
├── TextPairMetric     reads a text together with the candidate's pixels, as cross attention does
├── PictureMetric      rates the candidate's pixels alone
└── VectorMetric       rates the vector that an Embedder made of the candidate, alone
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.scorer.metrics.base import Embedder, Metric, MetricSpec, Value, Vector
from services.scorer.pictures import Picture


@dataclass(frozen=True)
class TextScores:
    """Values in the order of the candidates, and whether the text's end was left out for all of them."""

    values: tuple[Value, ...]
    truncated: bool


class TextPairMetric(Metric, ABC):
    """Scores a text and a picture jointly, so that neither has a vector of its own to keep."""

    @abstractmethod
    def score(self, text: str, candidates: Sequence[Picture]) -> TextScores:
        """Values of the candidates; independent of batch mates up to float rounding."""


class PictureMetric(Metric, ABC):
    """Rates a picture that is compared with nothing."""

    @abstractmethod
    def rate(self, candidates: Sequence[Picture]) -> list[Value]:
        """Values in the order of the candidates; independent of batch mates up to float rounding."""


class VectorMetric(Metric):
    """Rates a picture, compared with nothing, by its vector; shares the embedder's passes and cache."""

    def __init__(self, spec: MetricSpec, embedder: Embedder, rate: Callable[[Vector], Value]) -> None:
        super().__init__(spec)
        self.embedder = embedder
        self.rate = rate
