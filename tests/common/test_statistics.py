"""Rank correlation, paired bootstrap and chi-square: against scipy, the papers, and what cannot be computed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from services.common.errors import InvalidInputError
from services.common.statistics import (
    IccForm,
    average_ranks,
    chi_square_uniform,
    counted_icc,
    counted_rho,
    icc_value,
    paired_bootstrap,
    spearman,
)

BEST_POSITIONS = (12, 9, 9, 7, 10, 11, 13, 14, 21, 44)
"""Table 5 of the regeneration study."""

Items = NDArray[np.float64]
pairs = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=30)


class TestSpearman:
    """Pearson's correlation of average ranks."""

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(pairs.filter(lambda found: all(len(set(side)) > 1 for side in zip(*found, strict=True))))
    def test_scipy_agrees_with_and_without_ties(self, found: list[tuple[int, int]]) -> None:
        a, b = zip(*found, strict=True)
        ours, theirs = spearman(a, b), stats.spearmanr(a, b)
        assert ours.rho == pytest.approx(theirs.statistic, abs=1e-12)
        assert ours.p == pytest.approx(theirs.pvalue, abs=1e-7)
        assert ours.n == len(found)

    def test_a_monotone_relation_is_perfect(self) -> None:
        assert spearman([1, 2, 3, 4], [1, 10, 100, 1000]).rho == 1.0
        assert spearman([1, 2, 3, 4], [0, -1, -2, -30]) == spearman([4, 3, 2, 1], [1, 2, 3, 4])
        assert spearman([1, 2, 3, 4], [0, -1, -2, -30]).p == 0.0

    def test_ties_share_the_mean_of_their_ranks(self) -> None:
        assert average_ranks([3.0, 1.0, 3.0, 3.0]).tolist() == [3.0, 1.0, 3.0, 3.0]
        assert average_ranks([2.0, 2.0, 1.0]).tolist() == [2.5, 2.5, 1.0]

    @pytest.mark.parametrize(
        ("a", "b", "field"),
        [
            ([1, 2], [1, 2], "a"),
            ([1, 1, 1], [1, 2, 3], "a"),
            ([1, 2, 3], [5, 5, 5], "b"),
            ([1, 2, 3], [1, 2, 3, 4], "b"),
            ([1, 2, 3], [1, np.nan, 3], "b"),
            ([[1, 2], [3, 4], [5, 6]], [1, 2, 3], "a"),
        ],
    )
    def test_values_without_a_correlation_are_refused(self, a: list[float], b: list[float], field: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            spearman(a, b)
        assert caught.value.field == field


class TestCountedCoefficients:
    """Values that come several times count as often as if they were written several times."""

    counts = np.random.default_rng(4).integers(0, 4, (20, 9)).astype(float)
    ratings = np.random.default_rng(5).integers(1, 6, (9, 3)).astype(float)

    @pytest.mark.parametrize("form", list(IccForm))
    def test_icc(self, form: IccForm) -> None:
        written = [icc_value(np.repeat(self.ratings, row.astype(int), axis=0), form) for row in self.counts]
        assert counted_icc(self.ratings, self.counts, form) == pytest.approx(written, abs=1e-12)

    def test_rho_with_ties(self) -> None:
        a, b = self.ratings[:, 0], self.ratings[:, 1]
        written = [spearman(np.repeat(a, row.astype(int)), np.repeat(b, row.astype(int))).rho for row in self.counts]
        assert counted_rho(a, b, self.counts) == pytest.approx(written, abs=1e-12)

    def test_a_constant_side_has_no_rho(self) -> None:
        assert np.isnan(counted_rho(np.arange(3.0), np.array([1.0, 1.0, 2.0]), np.array([[1.0, 1.0, 0.0]]))).all()


class TestPairedBootstrap:
    """The difference of a statistic between two methods on the same groups."""

    def test_scipy_agrees_on_the_interval(self) -> None:
        one, other = _methods(groups=12, gain=0.6)
        ours = paired_bootstrap(one, other, _agreement, resamples=600, seed=1)

        def difference(drawn: NDArray[np.int64]) -> float:
            groups = [int(index) for index in drawn]
            found = [np.concatenate([method[i] for i in groups]) for method in (one, other)]
            first, second = (icc_value(items, IccForm.AGREEMENT_MEAN) for items in found)
            return second - first

        theirs = stats.bootstrap(
            (np.arange(12),), difference, n_resamples=600, vectorized=False, method="percentile", rng=2
        )
        interval = theirs.confidence_interval
        assert ours.difference == pytest.approx(difference(np.arange(12)))
        assert (ours.low, ours.high) == (pytest.approx(interval.low, abs=0.05), pytest.approx(interval.high, abs=0.05))

    def test_a_clear_gain_is_significant_and_none_is_not(self) -> None:
        gain = paired_bootstrap(*_methods(groups=15, gain=0.8), _agreement, resamples=300)
        assert 0 < gain.low < gain.difference < gain.high
        assert gain.p == pytest.approx(2 / 301)
        one, other = _methods(groups=15, gain=0.0)
        none = paired_bootstrap(one, other, _agreement, resamples=300)
        assert none.low < 0 < none.high
        assert none.p > 0.05
        same = paired_bootstrap(one, one, _agreement, resamples=50)
        assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)

    def test_equal_seeds_give_equal_results_and_the_methods_swap(self) -> None:
        one, other = _methods(groups=6, gain=0.3)
        first = paired_bootstrap(one, other, _agreement, resamples=80, seed=5)
        assert paired_bootstrap(one, other, _agreement, resamples=80, seed=5) == first
        assert paired_bootstrap(one, other, _agreement, resamples=80, seed=6) != first
        swapped = paired_bootstrap(other, one, _agreement, resamples=80, seed=5)
        assert (swapped.difference, swapped.low, swapped.high) == pytest.approx(
            (-first.difference, -first.high, -first.low)
        )
        assert swapped.p == first.p

    def test_groups_are_drawn_whole(self) -> None:
        groups = [np.full((size, 1), float(value)) for size, value in ((1, 0), (3, 10), (6, 100))]
        seen: set[float] = set()

        def total(items: Items, counts: Items) -> Items:
            sums = counts @ items[:, 0]
            if len(sums) > 1:
                seen.update(sums.tolist())
            return np.zeros(len(sums))

        paired_bootstrap(groups, groups, total, resamples=60)
        # Three draws of the sums 0, 30 and 600.
        assert seen <= {30.0 * a + 600.0 * b for a in range(4) for b in range(4 - a)}
        assert len(seen) > 5

    def test_what_cannot_be_drawn_is_refused(self) -> None:
        one, other = _methods(groups=3, gain=0.0)
        for first, second in ((one[:1], other[:1]), (one, other[:2]), (one, [other[0][:4], *other[1:]])):
            with pytest.raises(InvalidInputError, match="groups"):
                paired_bootstrap(first, second, _agreement, resamples=10)
        with pytest.raises(InvalidInputError, match="resamples"):
            paired_bootstrap(one, other, _agreement, resamples=1)
        with pytest.raises(InvalidInputError, match="no finite statistic"):
            paired_bootstrap(one, other, lambda _items, counts: np.full(len(counts), -np.inf), resamples=10)


class TestChiSquare:
    """Goodness of fit of counts by position."""

    def test_the_counts_of_the_study(self) -> None:
        result = chi_square_uniform(BEST_POSITIONS)
        assert (round(result.chi2, 3), result.df, result.expected) == (71.200, 9, 15.0)
        assert result.p < 0.001
        assert result.residuals == (-3, -6, -6, -8, -5, -4, -2, -1, 6, 29)

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any))
    def test_scipy_agrees(self, counts: list[int]) -> None:
        ours, theirs = chi_square_uniform(counts), stats.chisquare(counts)
        assert (ours.chi2, ours.p) == (pytest.approx(theirs.statistic), pytest.approx(theirs.pvalue))

    @pytest.mark.parametrize("counts", [(), (5,), (0, 0, 0), (3, -1)])
    def test_counts_without_a_test_are_refused(self, counts: tuple[int, ...]) -> None:
        with pytest.raises(InvalidInputError) as caught:
            chi_square_uniform(counts)
        assert caught.value.field == "observed"


def _methods(groups: int, gain: float) -> tuple[list[Items], list[Items]]:
    """Groups of (human rank, metric rank) by two metrics; the second one hears the human by `gain`."""
    rng = np.random.default_rng(3)
    one, other = [], []
    for _ in range(groups):
        human, noise, other_noise = average_ranks(rng.random(8)), rng.standard_normal(8), rng.standard_normal(8)
        one.append(np.stack([human, average_ranks(human * 0.2 + noise)], axis=1))
        other.append(np.stack([human, average_ranks(human * (0.2 + gain) + other_noise)], axis=1))
    return one, other


def _agreement(items: Items, counts: Items) -> Items:
    return counted_icc(items, counts, IccForm.AGREEMENT_MEAN)
