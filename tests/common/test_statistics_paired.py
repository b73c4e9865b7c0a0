"""Means, intervals and the paired t-test, compared with scipy's own and with numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.common.errors import InvalidInputError
from services.common.statistics import mean_interval, paired_comparison

VALUES = st.floats(-100, 100, allow_nan=False).map(lambda value: round(value, 3))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=3, max_size=30))
def test_the_t_test_is_scipys(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    if (b - a).std() < 1e-6:
        return
    ours, theirs = paired_comparison(a, b), stats.ttest_rel(a, b)
    assert ours.t_p == pytest.approx(theirs.pvalue, abs=1e-12)
    interval = theirs.confidence_interval(0.95)
    assert (ours.difference.low, ours.difference.high) == pytest.approx((interval.low, interval.high))


def test_means_have_the_interval_of_the_t_distribution() -> None:
    found = mean_interval([1.0, 2.0, 3.0, 4.0])
    # Standard error sqrt(5/3)/2 = 0.6455, t(3) at .975 = 3.1824.
    assert (found.n, found.mean) == (4, 2.5)
    assert (found.low, found.high) == pytest.approx((2.5 - 2.0543, 2.5 + 2.0543), abs=1e-3)


def test_wins_ties_and_losses_are_those_of_the_first() -> None:
    found = paired_comparison([2.0, 1.05, 0.95, 0.5], [1.0, 1.0, 1.0, 1.0], tie_epsilon=0.1)
    assert (found.wins, found.ties, found.losses) == (1, 2, 1)
    exact = paired_comparison([1.5, 1.5, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    assert (exact.wins, exact.ties, exact.losses) == (2, 1, 1)
    assert exact.difference.mean == 0.0


def test_a_single_pair_says_nothing_about_chance() -> None:
    found = paired_comparison([2.0], [1.0])
    assert (found.t_p, found.difference.low, found.wins) == (None, None, 1)


def test_differences_without_spread() -> None:
    same, better = paired_comparison([1.0, 2.0], [1.0, 2.0]), paired_comparison([2.0, 3.0], [1.0, 2.0])
    assert (same.t_p, same.wilcoxon_p, same.ties) == (None, None, 2)
    assert (better.t_p, better.wins) == (None, 2)


@pytest.mark.parametrize(
    ("a", "b", "field"),
    [
        ([1.0], [1.0, 2.0], "second"),
        ([], [], "first"),
        ([1.0, math.nan], [1.0, 2.0], "first"),
        ([1.0, 2.0], [1.0, math.inf], "second"),
    ],
)
def test_unusable_values_are_refused(a: list[float], b: list[float], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        paired_comparison(a, b)
    assert caught.value.field == field
