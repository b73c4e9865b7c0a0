"""Pearson's chi-square goodness of fit of counts against a uniform distribution.

chi2 = sum (observed - expected)^2 / expected, from 0, with one degree of freedom fewer than positions. The regeneration
study's counts of best-of positions, 12 9 9 7 10 11 13 14 21 44, give chi2(9) = 71.200.
Source: Pearson 1900; Trinh et al. 2025, "A Picture is Worth a Thousand Prompts?", table 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from services.common.errors import InvalidInputError


@dataclass(frozen=True)
class ChiSquare:
    """A goodness-of-fit test; residuals are observed minus expected, by position."""

    chi2: float
    df: int
    p: float
    observed: tuple[int, ...]
    expected: float
    """Count of every position if all were equally likely. Below 5 the p is coarse."""

    @property
    def residuals(self) -> tuple[float, ...]:
        """Observed minus expected counts."""
        return tuple(count - self.expected for count in self.observed)


def chi_square_uniform(observed: Sequence[int]) -> ChiSquare:
    """Whether counts by position may come from positions that are equally likely.

    Raises:
        InvalidInputError: fewer than two positions, a count below 0, or no counts at all.
    """
    counts = tuple(observed)
    if len(counts) < 2:
        raise InvalidInputError("observed", f"has {len(counts)} positions", allowed="at least 2")
    if min(counts) < 0 or sum(counts) == 0:
        raise InvalidInputError("observed", "has a count below 0, or nothing was counted", allowed="counts from 0")
    expected = sum(counts) / len(counts)
    chi2 = sum((count - expected) ** 2 for count in counts) / expected
    df = len(counts) - 1
    return ChiSquare(chi2=chi2, df=df, p=float(stats.chi2.sf(chi2, df)), observed=counts, expected=expected)
