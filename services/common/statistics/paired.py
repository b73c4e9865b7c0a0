"""Two methods rated on the same items: is the one better, and how often?

The paired t-test asks whether the mean of the differences is 0, with t = mean / (s / sqrt(n)) and n - 1 degrees of
freedom; it takes the differences for normal, which matters less the more there are. Wilcoxon's signed-rank test asks
the same of their ranks and takes no shape for granted; differences of 0 are left out, and p is exact up to 50 of them
without ties.
Sources: Student 1908, "The probable error of a mean"; Wilcoxon 1945, "Individual comparisons by ranking methods".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from services.common.errors import InvalidInputError

_TAIL = 0.025


@dataclass(frozen=True)
class MeanInterval:
    """A mean of n values and its 95 % confidence interval by t; the ends are None for a single value."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class PairedComparison:
    """First minus second over n items.

    Attributes:
        difference: Mean difference with its interval.
        t_p: Two-sided p of the paired t-test; None where it is undefined: one item, or differences that are all equal.
        wilcoxon_p: Two-sided p of the signed-rank test; None if every difference is 0.
        wins: Items on which the first is better by more than `tie_epsilon`.
        ties: Items that differ by at most that.
        losses: Items on which the second is better.
    """

    difference: MeanInterval
    t_p: float | None
    wilcoxon_p: float | None
    wins: int
    ties: int
    losses: int
    tie_epsilon: float


def mean_interval(values: ArrayLike) -> MeanInterval:
    """Mean of a list with its interval.

    Raises:
        InvalidInputError: no values, or one that is not finite.
    """
    found = _values(values, "values")
    return interval_around(float(found.mean()), _standard_error(found), len(found))


def interval_around(mean: float, standard_error: float, n: int) -> MeanInterval:
    """The interval of a mean of n values that has this standard error."""
    if n < 2:
        return MeanInterval(mean, None, None, n)
    room = float(stats.t.isf(_TAIL, n - 1)) * standard_error
    return MeanInterval(mean, mean - room, mean + room, n)


def t_test_of(mean: float, standard_error: float, n: int) -> float | None:
    """Two-sided p of the t-test that a mean of n values is 0; None where it is undefined."""
    if n < 2 or standard_error == 0:
        return None
    return float(2 * stats.t.sf(abs(mean) / standard_error, n - 1))


def paired_comparison(first: ArrayLike, second: ArrayLike, *, tie_epsilon: float = 0.0) -> PairedComparison:
    """Compares two methods rated on the same items, higher being better.

    Args:
        first: Ratings by the one method.
        second: Ratings of the same items, in the same order, by the other.
        tie_epsilon: Largest difference that counts as a tie.

    Raises:
        InvalidInputError: no items, lengths that differ, a rating that is not finite, or an epsilon below 0.
    """
    one, other = _values(first, "first"), _values(second, "second")
    if len(one) != len(other):
        raise InvalidInputError("second", f"has {len(other)} ratings", allowed=f"{len(one)}, as many as first")
    if not tie_epsilon >= 0:
        raise InvalidInputError("tie_epsilon", f"is {tie_epsilon}", allowed="0 or more")
    differences = one - other
    wins, losses = int((differences > tie_epsilon).sum()), int((differences < -tie_epsilon).sum())
    return PairedComparison(
        difference=mean_interval(differences),
        t_p=t_test_of(float(differences.mean()), _standard_error(differences), len(differences)),
        wilcoxon_p=_wilcoxon(differences),
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
        tie_epsilon=tie_epsilon,
    )


def _wilcoxon(differences: NDArray[np.float64]) -> float | None:
    apart = differences[differences != 0]
    return float(stats.wilcoxon(apart).pvalue) if len(apart) else None


def _standard_error(values: NDArray[np.float64]) -> float:
    # Equal values have no spread, whatever rounding makes of their mean. Nor has a single one.
    return 0.0 if (values == values[0]).all() else float(values.std(ddof=1)) / math.sqrt(len(values))


def _values(values: ArrayLike, field: str) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found):
        raise InvalidInputError(field, f"has the shape {found.shape}", allowed="a list of at least one number")
    if not np.isfinite(found).all():
        raise InvalidInputError(field, "holds a value that is not finite", allowed="finite numbers")
    return found
