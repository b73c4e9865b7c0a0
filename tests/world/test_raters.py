"""The benchmark's simulated raters: tastes show in the orders they give, and noise does what it says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.raters import FIRST, TASTES, people, rank
from services.common.statistics import spearman_rho
from world.variations import ATTRIBUTES

pytestmark = pytest.mark.usefixtures("font")


def test_first_attributes_and_noises_are_spread_evenly() -> None:
    raters = people(12, "strong", seed=3)
    assert [rater.first for rater in raters[:4]] == list(FIRST)
    assert len({(rater.first, rater.noise) for rater in raters}) == 12
    for rater in raters:
        weights = dict(zip(ATTRIBUTES, rater.weights, strict=True))
        assert weights.pop(rater.first) == 1.0
        assert sum(weights.values()) <= 1.0
        assert max(weights.values()) <= TASTES["strong"][1]


def test_equal_seeds_give_equal_rankings_and_others_other_ones() -> None:
    rater = people(2, "mild", seed=3)[1]
    one, again, other = (rank(rater, 2, 6, seed) for seed in (3, 3, 4))
    for a, b in zip(one, again, strict=True):
        assert a.places == b.places
        assert np.array_equal(a.candidates, b.candidates)
    assert not np.array_equal(one[0].target, other[0].target)
    # More targets later leave the first ones as they are.
    assert rank(rater, 3, 6, 3)[1].places == one[1].places


def test_places_follow_the_taste_up_to_the_noise() -> None:
    agreements = []
    for rater in people(12, "strong", seed=3):
        rankings = rank(rater, 8, 10, seed=3)
        for ranking in rankings:
            assert (ranking.target.shape, ranking.candidates.shape) == ((64, 64, 3), (10, 64, 64, 3))
            assert sorted(ranking.places) == list(range(1, 11))
        agreements.append(np.mean([spearman_rho(one.places, one.faithful) for one in rankings]))
    quiet, loud = np.mean(agreements[:4]), np.mean(agreements[8:])
    assert 0.85 < loud < quiet < 1.0
