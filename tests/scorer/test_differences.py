"""Difference vectors on the wire: what float16 keeps, and every vector that is not taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.common import images
from services.common.errors import InternalError, InvalidInputError, NotFoundError
from services.common.heads import DIFFERENCE_SCALE, distances
from services.scorer import differences
from services.scorer.domain import DifferenceVector, RankedDifferences
from services.scorer.metrics.lpips_distance import Lpips
from services.scorer.metrics.pixels import Psnr
from services.scorer.pictures import Picture
from services.scorer.registry import Registry

MakePicture = Callable[..., Picture]
MakeRankings = Callable[..., tuple[RankedDifferences, ...]]
RELATIVE_TOLERANCE = 2.0**-11
"""Half a unit in the last place of float16."""
ABSOLUTE_TOLERANCE = 2.0**-33
"""The same below its normal numbers, 256 times smaller; times the sum of the weights."""
FLOAT32_TOLERANCE = 1e-5
"""Relative rounding of the product itself."""


def _assert_the_product_is_the_raw_score(metric: Lpips, target: Picture, candidates: list[Picture]) -> None:
    raws = [value.raw for value in metric.score(target, candidates)]
    sent = [differences.encode(metric, vector) for vector in metric.differences(target, candidates)]
    rows = np.stack([np.frombuffer(vector.data, "<f2") for vector in sent])
    found = distances(metric.head, rows) / DIFFERENCE_SCALE
    for one, raw in zip(found, raws, strict=True):
        limit = raw * (RELATIVE_TOLERANCE + FLOAT32_TOLERANCE) + ABSOLUTE_TOLERANCE * metric.head.array.sum()
        assert abs(float(one) - raw) <= limit
    decoded = differences.decode(metric, sent, "x")
    np.testing.assert_allclose(distances(metric.head, decoded), found, rtol=FLOAT32_TOLERANCE)


def test_the_heads_product_is_the_raw_score(lpips_metric: Lpips, make_picture: MakePicture) -> None:
    target = make_picture(0)
    nearly = Picture(target.rgb.point(lambda value: min(255, value + 1)), "nearly")
    _assert_the_product_is_the_raw_score(lpips_metric, target, [make_picture(1), make_picture(2), nearly, target])


def test_the_heads_product_is_the_raw_score_on_real_weights(real_lpips: Lpips, shared_folder: Path) -> None:
    folder = shared_folder / "data/lpips_imgs"
    decoded = [images.decode((folder / name).read_bytes()) for name in ("ex_ref.png", "ex_p0.png", "ex_p1.png")]
    target, *candidates = (Picture(one.rgb, one.pixel_hash) for one in decoded)
    _assert_the_product_is_the_raw_score(real_lpips, target, candidates)


def test_a_value_beyond_float16_becomes_its_largest(lpips_metric: Lpips) -> None:
    vector = np.array([0.0, 1.0, 1e30, np.inf], np.float32)
    sent = differences.encode(lpips_metric, vector)
    assert np.frombuffer(sent.data, "<f2").tolist() == [0.0, 256.0, 65504.0, 65504.0]
    assert sent.dimensions == 4


def test_a_vector_without_numbers_is_a_defect_of_ours(lpips_metric: Lpips) -> None:
    with pytest.raises(InternalError, match="no finite difference vector"):
        differences.encode(lpips_metric, np.array([0.0, np.nan], np.float32))


def test_an_absent_metric_says_what_it_lacks_and_which_there_are(lpips_metric: Lpips) -> None:
    registry = Registry([lpips_metric, Psnr()], {"lpips-vgg": "its weights are not here"})
    assert differences.lpips_of(registry, "lpips-squeeze", field="metric") is lpips_metric
    with pytest.raises(NotFoundError, match=r"its weights are not here; known: lpips-squeeze$"):
        differences.lpips_of(registry, "lpips-vgg", field="metric")
    with pytest.raises(NotFoundError, match=r"'psnr' does not exist; known: lpips-squeeze$"):
        differences.lpips_of(registry, "psnr", field="metric")


def _with_value(value: float) -> Callable[[DifferenceVector], DifferenceVector]:
    def spoiled(vector: DifferenceVector) -> DifferenceVector:
        values = np.frombuffer(vector.data, "<f2").copy()
        values[7] = value
        return replace(vector, data=values.tobytes())

    return spoiled


@pytest.mark.parametrize(
    ("spoil", "field", "allowed"),
    [
        (lambda v: replace(v, metric="lpips-vgg"), "metric", "lpips-squeeze"),
        (lambda v: replace(v, backbone_revision="old"), "backbone_revision", ""),
        (lambda v: replace(v, preprocessing=""), "preprocessing", "rgb8-bicubic-to-target-1mp-1"),
        (lambda v: replace(v, dimensions=1472), "dimensions", "2240"),
        (lambda v: replace(v, dimensions=-1), "dimensions", "2240"),
        (lambda v: replace(v, data=v.data[:-1]), "data", "2 x dimensions bytes"),
        (lambda v: replace(v, data=b""), "data", "2 x dimensions bytes"),
        (_with_value(np.nan), "data", "finite numbers from 0"),
        (_with_value(np.inf), "data", "finite numbers from 0"),
        (_with_value(-1.0), "data", "finite numbers from 0"),
    ],
)
def test_a_vector_that_is_not_taken_is_named(
    spoil: Callable[[DifferenceVector], DifferenceVector],
    field: str,
    allowed: str,
    lpips_metric: Lpips,
    make_rankings: MakeRankings,
) -> None:
    good = make_rankings(1)[0].differences[0]
    with pytest.raises(InvalidInputError) as caught:
        differences.decode(lpips_metric, [good, spoil(good)], "rankings[2].differences")
    assert caught.value.field == f"rankings[2].differences[1].{field}"
    assert caught.value.metadata["allowed"] == (allowed or lpips_metric.head.backbone.revision)
