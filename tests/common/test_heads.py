"""Distances by heads: linear in the weights, the same for every batch; what a revision covers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.common import heads
from services.common.errors import InvalidInputError
from services.common.heads import Backbone, Head, Recipe, distances, head_of

BACKBONE = Backbone("lpips-tiny", "r1", (2, 3))
RELATIVE = 1e-5
"""Largest relative difference by float32 rounding."""

vectors = st.lists(st.floats(0, 1, width=32), min_size=5, max_size=5)
weights = vectors.filter(lambda found: max(found) > 1e-3)


@pytest.fixture(scope="module")
def lpips() -> Head:
    """Weights of forty channels, a third of them silent."""
    drawn = np.random.default_rng(1).random(40)
    drawn[::3] = 0
    return head_of(Backbone("lpips-tiny", "r1", (8, 12, 20)), drawn)


def _matrix(rows: list[list[float]]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32).reshape(-1, 5)


@settings(deadline=None, max_examples=50)
@given(st.lists(vectors, max_size=6), weights, weights, st.sampled_from([0.25, 1.0, 3.0]))
def test_distances_are_linear_in_the_weights(
    rows: list[list[float]], one: list[float], other: list[float], factor: float
) -> None:
    v = _matrix(rows)
    mixed = head_of(BACKBONE, np.add(one, np.multiply(factor, other)))
    expected = distances(head_of(BACKBONE, one), v) + factor * distances(head_of(BACKBONE, other), v)
    np.testing.assert_allclose(distances(mixed, v), expected, rtol=RELATIVE, atol=1e-6)
    assert (distances(mixed, v) >= 0).all()
    # Numbers below the normal ones have fewer digits.
    smallest = np.finfo(np.float32).tiny
    np.testing.assert_allclose(distances(mixed, 2 * v), 2 * distances(mixed, v), rtol=RELATIVE, atol=smallest)


def test_identical_pictures_have_distance_0(lpips: Head) -> None:
    assert distances(lpips, np.zeros((2, 40), np.float32)).tolist() == [0.0, 0.0]


def test_half_precision_vectors_are_taken_exactly_in_any_number(lpips: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = (np.random.default_rng(0).random((23, 40)) * 1e-4).astype(np.float16)
    expected = distances(lpips, halves.astype(np.float32))
    monkeypatch.setattr(heads, "ROWS_AT_ONCE", 5)
    np.testing.assert_allclose(distances(lpips, halves), expected, rtol=RELATIVE)
    np.testing.assert_allclose(distances(lpips, halves[::2]), expected[::2], rtol=RELATIVE)


def test_a_distance_does_not_depend_on_its_batch_mates(lpips: Head) -> None:
    v = np.random.default_rng(0).random((50, 40), dtype=np.float32)
    alone = np.concatenate([distances(lpips, v[i : i + 1]) for i in range(50)])
    np.testing.assert_allclose(distances(lpips, v), alone, rtol=RELATIVE)


def test_a_revision_covers_backbone_and_weights_and_nothing_else() -> None:
    head = head_of(BACKBONE, [1, 2, 3, 4, 5])
    same = head_of(BACKBONE, np.arange(1, 6), recipe=Recipe.CONVEX, parent="abc", metrics={"pairs": 3.0})
    assert head.revision == same.revision
    others = [
        head_of(BACKBONE, [1, 2, 3, 4, 5.5]),
        head_of(Backbone("lpips-tiny", "r2", (2, 3)), [1, 2, 3, 4, 5]),
        head_of(Backbone("lpips-small", "r1", (2, 3)), [1, 2, 3, 4, 5]),
        head_of(Backbone("lpips-tiny", "r1", (3, 2)), [1, 2, 3, 4, 5]),
    ]
    assert len({head.revision, *(other.revision for other in others)}) == 5


def test_a_head_survives_being_stored() -> None:
    head = head_of(BACKBONE, [1, 0, 3, 4, 5], parent="abc", metrics={"pairs": 3.0})
    fields = dataclasses.asdict(head)
    stored = Head(**{**fields, "backbone": Backbone(**fields["backbone"])})
    assert (stored, stored.revision, stored.metrics) == (head, head.revision, head.metrics)
    assert head.weights == np.array([1, 0, 3, 4, 5], "<f4").tobytes()
    assert stored.array.tolist() == [1, 0, 3, 4, 5]
    assert not stored.array.flags.writeable


@pytest.mark.parametrize(
    "values",
    [[1, 2, 3, 4], [[1, 2, 3, 4, 5]], [1, 2, 3, 4, -1e-9], [1, 2, 3, 4, np.nan], [1, 2, 3, 4, np.inf], [0] * 5],
)
def test_weights_of_no_metric_are_refused(values: list[float]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        head_of(BACKBONE, values)
    assert caught.value.field == "weights"


@pytest.mark.parametrize("shape", [(3, 4), (5,), (2, 6)])
def test_vectors_of_another_backbone_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match=r"5\] of lpips-tiny"):
        distances(head_of(BACKBONE, [1] * 5), np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("net", "layers"),
    [
        ("alex", (64, 192, 384, 256, 256)),
        ("vgg", (64, 128, 256, 512, 512)),
        ("squeeze", (64, 128, 256, 384, 384, 512, 512)),
    ],
)
def test_channels_of_the_published_networks(net: str, layers: tuple[int, ...]) -> None:
    assert Backbone(f"lpips-{net}", "", layers).channels == {"alex": 1152, "vgg": 1472, "squeeze": 2240}[net]
