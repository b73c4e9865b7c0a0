"""The benchmark's simulated raters: tastes show in the orders they give, and noise does what it says."""

from __future__ import annotations

import random

import numpy as np
import pytest

from benchmarks import raters
from benchmarks.raters import FIRST, TASTES, people, rank
from services.common.statistics import spearman_rho
from world.imaging import SIZE
from world.scene import MOST_OBJECTS
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
        rankings = rank(rater, 4, 10, seed=3)
        for ranking in rankings:
            assert (ranking.target.shape, ranking.candidates.shape) == ((SIZE, SIZE, 3), (10, SIZE, SIZE, 3))
            assert sorted(ranking.places) == list(range(1, 11))
        agreements.append(np.mean([spearman_rho(one.places, one.faithful) for one in rankings]))
    quiet, loud = np.mean(agreements[:4]), np.mean(agreements[8:])
    assert 0.85 < loud < quiet < 1.0


def test_targets_have_one_to_three_objects_of_different_kinds() -> None:
    drawn = [raters._target(random.Random(index)).objects for index in range(60)]
    assert {len(objects) for objects in drawn} == set(range(1, MOST_OBJECTS + 1))
    for objects in drawn:
        assert len({item.kind for item in objects}) == len(objects)
        assert all(item.colour for item in objects)
