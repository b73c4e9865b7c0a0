from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from services.common.profile import Embedder
from services.common.settings import Settings
from services.scorer.metrics import clip, clip_score
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]


@pytest.fixture(scope="module")
def embedder(settings: Settings, embedder_config: Embedder) -> clip.ClipEmbedder:
    return clip.load(settings, embedder_config)


def test_the_score_is_the_authors_formula_on_the_prefixed_text(
    embedder: clip.ClipEmbedder, make_picture: MakePicture
) -> None:
    metric = clip_score.build(embedder, "clip-score")
    text = embedder.embed_text(metric.text_prefix + "a red car").vector
    for vector in embedder.embed([make_picture(seed) for seed in range(4)]):
        expected = 2.5 * np.clip(np.sum(text * vector), 0, None)
        value = metric.compare(text, vector)
        assert value.raw == pytest.approx(float(expected), abs=1e-6)
        assert value.normalized == pytest.approx(value.raw / 2.5)


def test_a_negative_cosine_is_worth_nothing_and_order_is_kept_above() -> None:
    text = np.array([1.0, 0.0], np.float32)
    pictures = [np.array([cosine, (1 - cosine**2) ** 0.5], np.float32) for cosine in (-1.0, -0.2, 0.1, 0.3, 1.0)]
    values = [clip_score.compare(text, picture) for picture in pictures]
    assert [value.raw for value in values] == pytest.approx([0.0, 0.0, 0.25, 0.75, 2.5], abs=1e-6)
    assert [value.normalized for value in values] == pytest.approx([0.0, 0.0, 0.1, 0.3, 1.0], abs=1e-6)


def test_an_empty_vector_gives_no_number() -> None:
    assert np.isnan(clip_score.compare(np.zeros(2, np.float32), np.ones(2, np.float32)).raw)


def test_declaration(embedder: clip.ClipEmbedder) -> None:
    spec = clip_score.build(embedder, "clip-score").spec
    assert (spec.minimum, spec.maximum, spec.token_limit) == (0.0, 2.5, embedder.token_limit)
    assert (spec.embedding_model, spec.revision) == (embedder.spec.id, embedder.spec.revision)
    assert clip_score.PREFIX == "A photo depicts "
