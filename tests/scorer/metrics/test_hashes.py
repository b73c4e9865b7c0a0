"""Hashes: exactly imagehash's bits, and its own differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from services.common import images
from services.scorer.metrics import hashes
from services.scorer.metrics.base import EmbeddingMetric
from services.scorer.pictures import Picture

REFERENCE = {
    "ahash": imagehash.average_hash,
    "phash": imagehash.phash,
    "dhash": imagehash.dhash,
    "whash": imagehash.whash,
    "colorhash": imagehash.colorhash,
    "crophash": imagehash.crop_resistant_hash,
}
METRICS = {metric.spec.id: metric for metric in hashes.build()}


def _value(metric: EmbeddingMetric, a: Picture, b: Picture) -> object:
    return metric.compare(*metric.embedder.embed([a, b]))


def test_every_kind_is_there() -> None:
    assert set(METRICS) == set(REFERENCE)


@pytest.mark.parametrize("id_", [id_ for id_ in REFERENCE if id_ != "crophash"])
@pytest.mark.parametrize("size", [(8, 8), (64, 64), (200, 90)])
def test_bits_are_those_of_imagehash(id_: str, size: tuple[int, int], make_picture: Callable[..., Picture]) -> None:
    picture = make_picture(3, *size)
    (bits,) = METRICS[id_].embedder.embed([picture])
    np.testing.assert_array_equal(bits, REFERENCE[id_](picture.rgb).hash.flatten().astype(np.float32))


@pytest.mark.parametrize("id_", REFERENCE)
def test_raw_is_the_difference_that_imagehash_gives(id_: str, make_picture: Callable[..., Picture]) -> None:
    a, b = make_picture(1), make_picture(2)
    expected = REFERENCE[id_](a.rgb) - REFERENCE[id_](b.rgb)
    value = _value(METRICS[id_], a, b)
    assert value.raw == pytest.approx(float(expected), abs=1e-12)
    assert value.raw > 0


@pytest.mark.parametrize("id_", REFERENCE)
def test_a_picture_is_best_like_itself(id_: str, make_picture: Callable[..., Picture]) -> None:
    value = _value(METRICS[id_], make_picture(1), make_picture(1))
    assert (value.raw, value.normalized, value.adjusted) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("id_", [id_ for id_ in REFERENCE if id_ != "crophash"])
def test_fixed_length_hashes_are_symmetric_and_scaled_by_their_bits(
    id_: str, make_picture: Callable[..., Picture]
) -> None:
    a, b = make_picture(1), make_picture(2)
    value = _value(METRICS[id_], a, b)
    assert value == _value(METRICS[id_], b, a)
    assert value.normalized == pytest.approx(1 - value.raw / METRICS[id_].spec.maximum)


def test_the_crop_resistant_hash_has_one_hash_per_segment() -> None:
    left_dark = Image.new("RGB", (120, 120), "white")
    left_dark.paste("black", (0, 0, 60, 120))
    picture = Picture(left_dark, images.pixel_hash(left_dark))
    (vector,) = METRICS["crophash"].embedder.embed([picture])
    assert vector.size == 2 * 64


def test_a_stranger_to_all_segments_scores_0() -> None:
    target, candidate = np.zeros(128, np.float32), np.ones(64, np.float32)
    value = METRICS["crophash"].compare(target, candidate)
    assert (value.raw, value.normalized) == (2.0, 0.0)


@pytest.mark.parametrize("id_", REFERENCE)
def test_bits_on_a_real_picture(id_: str, shared_folder: Path) -> None:
    rgb = images.decode((shared_folder / "data/imagehash/imagehash.png").read_bytes()).rgb
    picture = Picture(rgb, images.pixel_hash(rgb))
    (bits,) = METRICS[id_].embedder.embed([picture])
    reference = REFERENCE[id_](rgb)
    parts = reference.segment_hashes if id_ == "crophash" else [reference]
    np.testing.assert_array_equal(bits, np.concatenate([part.hash.flatten() for part in parts]).astype(np.float32))
