"""What is cached, and under which names: embeddings of pictures, difference vectors and scores of pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from services.gateway.ports import DifferenceVector, EmbeddingVector


@dataclass(frozen=True)
class ScoreValue:
    """One metric's value for one pair; what the bytes are is between those who write and read them."""

    metric: str
    revision: str
    data: bytes


V = TypeVar("V", bound=EmbeddingVector | DifferenceVector | ScoreValue)


class CacheKey(ABC, Generic[V]):
    """What decides a value. Equal keys are equal values, on every gateway; hashable."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Key in Redis."""

    @property
    def lock(self) -> str:
        """Key of the lock under which the value is computed."""
        return f"{self.name}:lock"

    @abstractmethod
    def vector(self, data: bytes) -> V:
        """The value that stored bytes hold."""

    @abstractmethod
    def of(self, vector: V) -> CacheKey[V]:
        """The key that a computed value belongs under; a redeployed scorer may just have changed its revision."""


@dataclass(frozen=True)
class EmbeddingKey(CacheKey[EmbeddingVector]):
    """What decides an embedding; stored are its raw little-endian float32 bytes."""

    pixel_hash: str
    model: str
    revision: str
    preprocessing: str

    @property
    def name(self) -> str:
        """Key in Redis."""
        return f"likeness:embedding:{self.model}:{self.revision}:{self.preprocessing}:{self.pixel_hash}"

    def vector(self, data: bytes) -> EmbeddingVector:
        """The embedding that stored bytes hold."""
        return EmbeddingVector(self.model, self.revision, self.preprocessing, len(data) // 4, data)

    def of(self, vector: EmbeddingVector) -> EmbeddingKey:
        """The key that a computed embedding belongs under."""
        return replace(self, model=vector.model, revision=vector.revision, preprocessing=vector.preprocessing)


@dataclass(frozen=True)
class DifferenceKey(CacheKey[DifferenceVector]):
    """What decides a difference vector; stored are its raw little-endian float16 bytes. The hashes are of pixels."""

    target_hash: str
    candidate_hash: str
    metric: str
    backbone_revision: str
    preprocessing: str

    @property
    def name(self) -> str:
        """Key in Redis."""
        backbone = f"{self.metric}:{self.backbone_revision}:{self.preprocessing}"
        return f"likeness:difference:{backbone}:{self.target_hash}:{self.candidate_hash}"

    def vector(self, data: bytes) -> DifferenceVector:
        """The difference vector that stored bytes hold."""
        return DifferenceVector(self.metric, self.backbone_revision, self.preprocessing, len(data) // 2, data)

    def of(self, vector: DifferenceVector) -> DifferenceKey:
        """The key that a computed difference vector belongs under."""
        return replace(
            self,
            metric=vector.metric,
            backbone_revision=vector.backbone_revision,
            preprocessing=vector.preprocessing,
        )


@dataclass(frozen=True)
class ScoreKey(CacheKey[ScoreValue]):
    """What decides a score. Hashes are of pixels and of the text; empty is what the metric does not read."""

    target_hash: str
    candidate_hash: str
    text_hash: str
    metric: str
    revision: str
    preprocessing: str

    @property
    def name(self) -> str:
        """Key in Redis."""
        metric = f"{self.metric}:{self.revision}:{self.preprocessing}"
        return f"likeness:score:{metric}:{self.target_hash}:{self.candidate_hash}:{self.text_hash}"

    def vector(self, data: bytes) -> ScoreValue:
        """The value that stored bytes hold."""
        return ScoreValue(self.metric, self.revision, data)

    def of(self, vector: ScoreValue) -> ScoreKey:
        """The key that a computed value belongs under."""
        return replace(self, metric=vector.metric, revision=vector.revision)
