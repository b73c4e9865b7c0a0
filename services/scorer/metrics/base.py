"""What a metric is: a declaration, and two stages, embed (heavy, batched, cacheable) and compare (cheap).

Metric
├── EmbeddingMetric    compares vectors that an Embedder made of the target, or of a text, with the candidate's
└── PairMetric         needs the pixels of both pictures at one size

Every value has two forms. `raw` is in the metric's own units. `normalized` is 0..1 with 1 best, by a mapping that each
family documents; the papers' *adjusted* score, 0..1 with 0 most similar, is 1 - normalized.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from services.scorer.pictures import Picture

Vector = NDArray[np.float32]


class MetricInput(StrEnum):
    """What a metric compares with the candidate picture."""

    IMAGE_IMAGE = "image-image"
    TEXT_IMAGE = "text-image"
    IMAGE = "image"
    """Nothing: it is rated by itself."""


@dataclass(frozen=True)
class MetricSpec:
    """A metric's declaration; two metrics of equal id, revision and preprocessing give equal values."""

    id: str
    revision: str
    description: str
    input: MetricInput
    higher_is_better: bool
    minimum: float | None
    maximum: float | None
    preprocessing: str
    license: str
    embedding_model: str = ""
    """Embedder whose vectors are compared; empty for a metric of the pixel pair."""
    token_limit: int | None = None
    """Most tokens of text that are read; for text metrics."""
    embedded: bool = True
    """Whether everything it needs ships with Likeness."""


@dataclass(frozen=True)
class Value:
    """A metric's value for one candidate.

    `cells` are normalized values in a square grid over the target, row by row from the top left: where the pictures are
    alike. Empty if the metric has no local values.
    """

    raw: float
    normalized: float
    cells: tuple[float, ...] = ()

    @property
    def adjusted(self) -> float:
        """The papers' common scale: 0..1, 0 most similar."""
        return 1.0 - self.normalized


@dataclass(frozen=True)
class TextEmbedding:
    """Vector of a text, and whether its end was left out because the model reads fewer tokens."""

    vector: Vector
    truncated: bool


@dataclass(frozen=True)
class EmbedderSpec:
    """An embedding model's declaration; vectors of equal id, revision and preprocessing are interchangeable."""

    id: str
    revision: str
    preprocessing: str
    dimensions: int | None
    """Length of every vector; None if it depends on the picture."""
    source: str
    """Hub id, package or folder name; never a path of this machine."""
    embedded: bool
    license: str


class Embedder(ABC):
    """Turns pictures into vectors. Stateless and safe to call from several threads."""

    def __init__(self, spec: EmbedderSpec) -> None:
        self.spec = spec

    @abstractmethod
    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Vectors [D] float32 in the order of the pictures; independent of batch mates up to float rounding."""


class TextEmbedder(Embedder):
    """An embedder whose vectors share a space with those of texts."""

    token_limit: int

    @abstractmethod
    def embed_text(self, text: str) -> TextEmbedding:
        """Vector [D] float32 of a text."""


class Metric:
    """A declared way to compare; always one of the two kinds below."""

    def __init__(self, spec: MetricSpec) -> None:
        self.spec = spec


class EmbeddingMetric(Metric):
    """Compares the candidate's vector with the target's, or with the text's when its input is text."""

    text_prefix: str = ""
    """Put before the text that is embedded."""

    def __init__(self, spec: MetricSpec, embedder: Embedder, compare: Callable[[Vector, Vector], Value]) -> None:
        super().__init__(spec)
        self.embedder = embedder
        self.compare = compare


class PairMetric(Metric, ABC):
    """Compares pixels; the target's share of the work is done once for all candidates."""

    @abstractmethod
    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        """Values in the order of the candidates; independent of batch mates up to float rounding."""
