"""clip-score: CLIPScore of a text and a picture, over an embedder that is loaded anyway.

Raw value: 2.5 max(cosine, 0), 0..2.5; normalized = raw / 2.5. The text is read after "A photo depicts ", as in the
authors' code; the paper's numbers are those of CLIP ViT-B/32. A text that is longer with this prefix than the model
reads is cut, and the answer says so. torchmetrics' metric of this name is 100 max(cosine, 0) without the prefix.
Source: Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning"; jmhessel/clipscore
(clipscore.py), MIT.
"""

from __future__ import annotations

from dataclasses import replace

from services.scorer.metrics.base import EmbeddingMetric, MetricInput, MetricSpec, TextEmbedder, Value, Vector
from services.scorer.metrics.cosine import cosine

PREFIX = "A photo depicts "
WEIGHT = 2.5


class ClipScore(EmbeddingMetric):
    """Compares the vector of the prefixed text with the picture's."""

    text_prefix = PREFIX
    """Put before the text by whoever embeds it."""


def build(embedder: TextEmbedder, id_: str) -> ClipScore:
    """The metric over a loaded embedder."""
    spec = MetricSpec(
        id=id_,
        revision=embedder.spec.revision,
        description="CLIPScore (Hessel et al. 2021) of text and picture.",
        input=MetricInput.TEXT_IMAGE,
        higher_is_better=True,
        minimum=0.0,
        maximum=WEIGHT,
        preprocessing=embedder.spec.preprocessing,
        license=embedder.spec.license,
        embedding_model=embedder.spec.id,
        token_limit=embedder.token_limit,
        embedded=embedder.spec.embedded,
    )
    return ClipScore(spec, embedder, compare)


def compare(text: Vector, picture: Vector) -> Value:
    """2.5 times the cosine where it is positive; not a number if a vector is zero."""
    value = cosine(text, picture)
    similarity = max(value.raw, 0.0) if value.raw == value.raw else value.raw
    return replace(value, raw=WEIGHT * similarity, normalized=similarity)
