"""The convex fit: its optimum, what it does not depend on, and how far few and many rankings move it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from services.common.errors import InvalidInputError
from services.common.heads import Backbone, Head, Recipe, distances, head_of
from services.scorer.clpips.alignment import agreement_of, scores_by
from services.scorer.clpips.convex import DEVIATION, fit_convex
from services.scorer.clpips.rankings import RankedSet

MakeSets = Callable[..., list[RankedSet]]
Array = NDArray[np.float64]


def _agreement(head: Head, sets: list[RankedSet]) -> float:
    return agreement_of(sets, scores_by(head, sets))


def _turned(head: Head, parent: Head) -> float:
    """Angle between the weights of two heads in units where every channel of the fixture counts alike."""
    one, other = (h.array / h.array.mean() for h in (head, parent))
    return float(np.arccos(one @ other / np.linalg.norm(one) / np.linalg.norm(other)))


def _loss(weights: Array, parent: Array, sets: list[RankedSet], layers: tuple[int, ...]) -> float:
    """The module's formula, written down a second time and slowly."""
    centered = np.concatenate([s.differences - s.differences.astype(float).mean(axis=0) for s in sets])
    ends = np.cumsum(layers)
    scale = np.concatenate(
        [np.full(n, (centered[:, end - n : end] ** 2).mean() ** -0.5) for n, end in zip(layers, ends, strict=True)]
    )
    unit = np.sqrt(2 * ((centered @ parent) ** 2).mean())
    # A priori the weights deviate by `spread` scales each, and their margins by DEVIATION units.
    spread = DEVIATION * unit / np.sqrt(2 * ((centered * scale) ** 2).sum(axis=1).mean())
    loss = 0.5 * (((weights - parent) / (scale * spread)) ** 2).sum()
    for ranked in sets:
        scores, n = ranked.differences.astype(float) @ weights, len(ranked.places)
        for better in range(n):
            for worse in range(n):
                if ranked.places[better] < ranked.places[worse]:
                    loss += 2 / n * np.logaddexp(0, -(scores[worse] - scores[better]) / unit)
    return float(loss)


def test_no_neighbor_is_better(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 3, noise=0.2, images=6)
    fitted, parent, layers = (
        fit_convex(lpips, sets).array.astype(float),
        lpips.array.astype(float),
        lpips.backbone.layers,
    )
    # The fit ends with a change of scale, which this undoes.
    factors = np.geomspace(0.2, 5, 400)
    fitted *= factors[np.argmin([_loss(fitted * factor, parent, sets, layers) for factor in factors])]
    best = _loss(fitted, parent, sets, layers)
    assert best < _loss(parent, parent, sets, layers) - 0.5
    rng = np.random.default_rng(0)
    for size in (0.02, 0.1, 0.5):
        for _ in range(40):
            moved = np.maximum(0, fitted + size * parent.mean() * rng.standard_normal(len(fitted)))
            assert _loss(moved, parent, sets, layers) > best


def test_a_known_taste_is_recovered(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    head, held_out = fit_convex(lpips, make_sets(taste, 60)), make_sets(taste, 30, seed=9)
    assert _agreement(lpips, held_out) < 0.9
    assert _agreement(head, held_out) > 0.98
    assert (head.array >= 0).all()
    assert (head.recipe, head.parent) == (Recipe.CONVEX, lpips.revision)
    assert head.metrics == {"rankings": 60, "targets": 60, "pairs": 60 * 45}


def test_more_rankings_help_more_and_few_move_little(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    held_out = make_sets(taste, 30, seed=9)
    heads = [fit_convex(lpips, make_sets(taste, count, noise=0.3)) for count in (1, 5, 40)]
    agreements = [_agreement(head, held_out) for head in (lpips, *heads)]
    assert agreements == sorted(agreements)
    angles = [_turned(head, lpips) for head in heads]
    assert angles[0] < 0.7 * min(angles[1:])


def test_one_picture_changed_place_hardly_changes_the_head(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 5)
    places = list(sets[0].places)
    first, second = places.index(5), places.index(6)
    places[first], places[second] = 6, 5
    other = [RankedSet(sets[0].target, sets[0].differences, tuple(places)), *sets[1:]]
    assert _turned(fit_convex(lpips, other), fit_convex(lpips, sets)) < 0.1


def test_equal_inputs_give_equal_heads_and_order_does_not_matter(
    lpips: Head, taste: Array, make_sets: MakeSets
) -> None:
    sets = make_sets(taste, 4)
    head = fit_convex(lpips, sets)
    assert fit_convex(lpips, make_sets(taste, 4)).revision == head.revision
    backward = [RankedSet(s.target, s.differences[::-1], s.places[::-1]) for s in reversed(sets)]
    np.testing.assert_allclose(fit_convex(lpips, backward).array, head.array, rtol=1e-2, atol=1e-2 * head.array.max())


@pytest.mark.parametrize("units", [np.full(3, 1e-3), np.array([1.0, 50.0, 0.02])])
def test_the_units_of_layers_do_not_matter(
    units: Array, lpips: Head, taste: Array, make_sets: MakeSets, backbone: Backbone
) -> None:
    factor = np.repeat(units, backbone.layers)
    sets = make_sets(taste, 4)
    scaled = [RankedSet(s.target, (s.differences * factor).astype(np.float32), s.places) for s in sets]
    head = fit_convex(head_of(backbone, lpips.array / factor), scaled)
    np.testing.assert_allclose(
        head.array * factor, fit_convex(lpips, sets).array, rtol=1e-2, atol=1e-3 * lpips.array.max()
    )


def test_the_mean_distance_stays_the_parents(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 5)
    one, other = (np.mean([distances(h, s.differences).mean() for s in sets]) for h in (lpips, fit_convex(lpips, sets)))
    assert one == pytest.approx(other, rel=1e-5)


def test_half_precision_vectors_give_nearly_the_same_head(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    sets, held_out = make_sets(taste, 5), make_sets(taste, 10, seed=9)
    halves = [RankedSet(s.target, s.differences.astype(np.float16), s.places) for s in sets]
    one, other = fit_convex(lpips, sets), fit_convex(lpips, halves)
    assert _agreement(other, held_out) == pytest.approx(_agreement(one, held_out), abs=0.01)


class TestTastes:
    """Other people's heads as a start."""

    def test_one_ranking_finds_the_like_minded(
        self, lpips: Head, taste: Array, make_sets: MakeSets, backbone: Backbone
    ) -> None:
        rng = np.random.default_rng(5)
        others = [
            head_of(backbone, lpips.array * rng.permutation(np.repeat([0.1, 1, 5], (10, 15, 15)))) for _ in range(6)
        ]
        sets, held_out = make_sets(taste, 1), make_sets(taste, 30, seed=9)
        alone = _agreement(fit_convex(lpips, sets), held_out)
        assert _agreement(fit_convex(lpips, sets, [*others, head_of(backbone, taste)]), held_out) > alone + 0.05

    def test_the_scale_of_a_taste_does_not_matter(
        self, lpips: Head, taste: Array, make_sets: MakeSets, backbone: Backbone
    ) -> None:
        sets = make_sets(taste, 3)
        one, other = (fit_convex(lpips, sets, [head_of(backbone, taste * factor)]).array for factor in (1.0, 500.0))
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3 * one.max())

    def test_a_taste_of_another_backbone_is_refused(self, lpips: Head, taste: Array, make_sets: MakeSets) -> None:
        other = head_of(Backbone("lpips-tiny", "r2", lpips.backbone.layers), taste)
        with pytest.raises(InvalidInputError, match="lpips-tiny, revision r1"):
            fit_convex(lpips, make_sets(taste, 1), [other])


class TestNothingToLearn:
    """Rankings that no weights can follow."""

    def test_who_prefers_the_less_similar_in_everything_keeps_the_parent(self, backbone: Backbone) -> None:
        lpips = head_of(backbone, np.ones(40))
        rows = np.outer(np.arange(10, 0, -1), np.ones(40)).astype(np.float32)
        sets = [RankedSet(f"t{index}", rows, tuple(range(10))) for index in range(60)]
        assert fit_convex(lpips, sets).revision == lpips.revision

    def test_pictures_that_are_all_alike_are_refused(self, lpips: Head) -> None:
        same = np.tile(np.random.default_rng(0).random(40, dtype=np.float32), (4, 1))
        with pytest.raises(InvalidInputError, match="all alike"):
            fit_convex(lpips, [RankedSet("t", same, (1, 2, 3, 4))])

    def test_a_silent_layer_keeps_its_weights_up_to_scale(self, lpips: Head, taste: Array, make_sets: MakeSets) -> None:
        silent = [
            RankedSet(s.target, s.differences * np.repeat([1, 0, 1], (8, 12, 20)), s.places)
            for s in make_sets(taste, 4)
        ]
        ratio = fit_convex(lpips, silent).array[8:20] / np.where(lpips.array[8:20] > 0, lpips.array[8:20], 1)
        kept = ratio[lpips.array[8:20] > 0]
        np.testing.assert_allclose(kept, kept[0], rtol=1e-4)
