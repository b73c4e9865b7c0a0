"""The pictures of a request: given embeddings are used, and what they do not serve is decoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common import images
from services.common.errors import InvalidInputError
from services.scorer.domain import KnownEmbedding, Subject
from services.scorer.metrics.base import Embedder, EmbeddingMetric, Metric, MetricInput, Vector
from services.scorer.metrics.text_pair import VectorMetric
from services.scorer.pictures import Picture


@dataclass(frozen=True, eq=False)
class Prepared:
    """A subject ready for its metrics: the vectors that were given and hold, and the picture if one is needed."""

    vectors: dict[str, Vector]
    """By embedder id."""
    picture: Picture | None


def decode(data: bytes, field: str) -> Picture:
    """Decodes a picture; ImageError, blamed on `field`, if it cannot be taken."""
    decoded = images.decode(data, field=field)
    return Picture(decoded.rgb, decoded.pixel_hash)


def prepare(subject: Subject, metrics: Sequence[Metric], *, is_target: bool) -> Prepared:
    """Takes what is given for a subject and decodes its picture if a metric needs it.

    Raises:
        InvalidInputError: an embedding is broken, or a metric needs the picture and it is absent or cannot be taken.
    """
    # The target plays no part in a metric that compares with the text.
    used = [metric for metric in metrics if not is_target or metric.spec.input is MetricInput.IMAGE_IMAGE]
    vectors: dict[str, Vector] = {}
    needed_by: Metric | None = None
    for metric in used:
        if isinstance(metric, EmbeddingMetric | VectorMetric):
            vector = _given(subject, metric.embedder)
            if vector is not None:
                vectors[metric.embedder.spec.id] = vector
                continue
        needed_by = needed_by or metric
    if needed_by is None:
        return Prepared(vectors, None)
    field = f"{subject.field}.image"
    if subject.data is None:
        allowed = "the picture's bytes"
        if isinstance(needed_by, EmbeddingMetric | VectorMetric):
            embedder = needed_by.embedder.spec
            allowed += f", or its embedding by {embedder.id} at revision {embedder.revision}"
        raise InvalidInputError(field, f"metric {needed_by.spec.id} needs it", allowed=allowed)
    return Prepared(vectors, decode(subject.data, field))


def _given(subject: Subject, embedder: Embedder) -> Vector | None:
    spec = embedder.spec
    for index, known in enumerate(subject.embeddings):
        if (known.model, known.revision, known.preprocessing) == (spec.id, spec.revision, spec.preprocessing):
            return _vector(known, spec.dimensions, f"{subject.field}.embeddings[{index}]")
    return None


def _vector(known: KnownEmbedding, dimensions: int | None, field: str) -> Vector:
    if known.dimensions < 1 or len(known.data) != 4 * known.dimensions:
        problem = f"{len(known.data)} bytes do not hold {known.dimensions} float32 values"
        raise InvalidInputError(f"{field}.data", problem, allowed="4 x dimensions bytes")
    if dimensions is not None and known.dimensions != dimensions:
        raise InvalidInputError(f"{field}.dimensions", f"is {known.dimensions}", allowed=str(dimensions))
    return np.frombuffer(known.data, dtype="<f4")
