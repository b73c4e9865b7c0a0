"""What holds for every metric that compares two pictures, whatever their sizes, modes and shapes."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from services.common.profile import Profile
from services.common.settings import Settings
from services.scorer import registry, scoring
from services.scorer.domain import ScoreQuery, Subject
from services.scorer.metrics import imagenet
from services.scorer.metrics.base import Metric, MetricInput, Value
from services.scorer.metrics.dists import Dists
from services.scorer.metrics.lpips_distance import ALEX, Lpips

TOLERANCE = 1e-4
"""Largest difference of a value between orders and batches, in each metric's own units."""
NOT_SYMMETRIC = {"crophash"}
ENCODINGS = (("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"))
few = examples(max_examples=8)

sides = st.integers(8, 72)
encoded = st.builds(
    lambda seed, width, height, encoding: _encode(seed, (width, height), *encoding),
    st.integers(0, 1000),
    sides,
    sides,
    st.sampled_from(ENCODINGS),
)


def _encode(seed: int, size: tuple[int, int], mode: str, format_: str) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)
    out = io.BytesIO()
    picture.save(out, format_)
    return out.getvalue()


@pytest.fixture(scope="module")
def metrics(
    settings: Settings, profile: Profile, random_features: Callable[[imagenet.Backbone], nn.Sequential]
) -> list[Metric]:
    """Every metric of two pictures that is cheap with random weights."""
    embedder = profile.embedders[0].model_copy(update={"features_id": "clip-features-embedded"})
    built = registry.build(settings, profile.model_copy(update={"embedders": (embedder,)}))
    torch.manual_seed(0)
    dists = Dists(_thin_vgg(), torch.rand(41), torch.rand(41))
    lpips = Lpips(ALEX, random_features(imagenet.ALEXNET))
    both = [metric for metric in built.metrics.values() if metric.spec.input is MetricInput.IMAGE_IMAGE]
    return [*both, lpips, dists]


def _thin_vgg() -> nn.Sequential:
    """VGG16's convolutional part with channels of a hundredth: 3 + 2 + 4 + 8 + 12 + 12 maps."""
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((2, 2), (4, 2), (8, 3), (12, 3), (12, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers).eval().requires_grad_(False)


def _values(metrics: list[Metric], target: bytes, *candidates: bytes) -> list[list[Value]]:
    """Values by candidate and metric."""
    query = ScoreQuery(Subject("target", target), "", tuple(Subject("x", one) for one in candidates), ())
    rows = scoring.score(query, metrics, lambda: None)
    values = [[score.outcome for score in row.scores] for row in rows]
    assert all(isinstance(value, Value) for row in values for value in row)
    return values  # type: ignore[return-value]


@few
@given(encoded, encoded)
def test_values_are_in_range_and_a_picture_is_best_like_itself(
    metrics: list[Metric], target: bytes, candidate: bytes
) -> None:
    other, same = _values(metrics, target, candidate, target)
    for metric, value, best in zip(metrics, other, same, strict=True):
        spec = metric.spec
        for one in (value, best):
            assert spec.minimum is None or one.raw >= spec.minimum - TOLERANCE
            assert spec.maximum is None or one.raw <= spec.maximum + TOLERANCE
            assert 0 <= one.normalized <= 1
            assert one.adjusted == 1 - one.normalized
        assert best.normalized == pytest.approx(1.0, abs=TOLERANCE), spec.id
        assert value.normalized <= best.normalized + TOLERANCE
        worse = value.raw - best.raw if not spec.higher_is_better else best.raw - value.raw
        assert worse >= -TOLERANCE, spec.id


@few
@given(st.integers(0, 1000), st.integers(0, 1000), sides, sides)
def test_pictures_of_one_size_are_compared_alike_in_both_directions(
    metrics: list[Metric], one: int, other: int, width: int, height: int
) -> None:
    a, b = (_encode(seed, (width, height), "RGB", "PNG") for seed in (one, other))
    (there,), (back,) = _values(metrics, a, b), _values(metrics, b, a)
    for metric, x, y in zip(metrics, there, back, strict=True):
        if metric.spec.id not in NOT_SYMMETRIC:
            assert x.raw == pytest.approx(y.raw, abs=TOLERANCE), metric.spec.id


@few
@given(encoded, st.lists(encoded, min_size=2, max_size=4))
def test_a_value_does_not_depend_on_batch_mates(metrics: list[Metric], target: bytes, candidates: list[bytes]) -> None:
    together = _values(metrics, target, *candidates)
    for candidate, row in zip(candidates, together, strict=True):
        (alone,) = _values(metrics, target, candidate)
        for metric, x, y in zip(metrics, alone, row, strict=True):
            assert x.raw == pytest.approx(y.raw, abs=TOLERANCE), metric.spec.id


@few
@given(encoded, st.sampled_from(["RGBA", "LA"]), st.integers(0, 1000), sides, sides)
def test_how_a_picture_is_stored_does_not_matter(
    metrics: list[Metric], target: bytes, mode: str, seed: int, width: int, height: int
) -> None:
    """An opaque picture with alpha is the picture without."""
    plain = "RGB" if mode == "RGBA" else "L"
    stored = [_encode(seed, (width, height), kind, "PNG") for kind in (mode, plain)]
    with_alpha, without = _values(metrics, target, *stored)
    for metric, x, y in zip(metrics, with_alpha, without, strict=True):
        assert x.raw == pytest.approx(y.raw, abs=TOLERANCE), metric.spec.id
