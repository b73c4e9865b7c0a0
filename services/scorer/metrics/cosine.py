"""Cosine of two embeddings: the comparison of every metric that stands on a semantic model.

Raw value: -1..1, 1 for equal directions, symmetric; normalized = (1 + cosine) / 2, so that order is kept below 0 too.
"""

from __future__ import annotations

import numpy as np

from services.scorer.metrics.base import Embedder, EmbeddingMetric, MetricInput, MetricSpec, TextEmbedder, Value, Vector


def cosine(a: Vector, b: Vector) -> Value:
    """Cosine of two vectors, whatever their lengths; not a number if one is zero."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        raw = float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1.0, 1.0))
    return Value(raw, (1.0 + raw) / 2.0)


def image_metric(embedder: Embedder, description: str) -> EmbeddingMetric:
    """The metric with the embedder's id that compares two pictures."""
    return EmbeddingMetric(_spec(embedder, embedder.spec.id, MetricInput.IMAGE_IMAGE, description), embedder, cosine)


def text_metric(embedder: TextEmbedder, id_: str, description: str) -> EmbeddingMetric:
    """A metric that compares a text with a picture."""
    spec = _spec(embedder, id_, MetricInput.TEXT_IMAGE, description, embedder.token_limit)
    return EmbeddingMetric(spec, embedder, cosine)


def _spec(
    embedder: Embedder, id_: str, input_: MetricInput, description: str, token_limit: int | None = None
) -> MetricSpec:
    return MetricSpec(
        id=id_,
        revision=embedder.spec.revision,
        description=description,
        input=input_,
        higher_is_better=True,
        minimum=-1.0,
        maximum=1.0,
        preprocessing=embedder.spec.preprocessing,
        license=embedder.spec.license,
        embedding_model=embedder.spec.id,
        token_limit=token_limit,
        embedded=embedder.spec.embedded,
    )
