"""Spearman's rank correlation: Pearson's correlation of average ranks, -1..1.

Source: Spearman 1904, "The proof and measurement of association between two things". Ties take the mean of the ranks
they cover. The two-sided p of rho = 0 is that of t = rho sqrt((n - 2) / (1 - rho^2)) with n - 2 degrees of freedom, as
in scipy; it is an approximation, coarse for fewer than ten values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from services.common.errors import InvalidInputError

MIN_VALUES = 3


@dataclass(frozen=True)
class Spearman:
    """Rank correlation of n pairs of values."""

    rho: float
    p: float
    n: int


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1, smallest first, of a list; equal values share the mean of the ranks they cover."""
    _, positions, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[positions]
    return ranks


def spearman(a: ArrayLike, b: ArrayLike) -> Spearman:
    """Rank correlation of paired values.

    Raises:
        InvalidInputError: the lengths differ, fewer than three pairs, a value that is not finite, or one side is
            constant, which leaves the correlation undefined.
    """
    rho, n = spearman_rho(a, b), len(np.asarray(a))
    t = abs(rho) * math.sqrt((n - 2) / (1 - rho * rho)) if abs(rho) < 1 else math.inf
    return Spearman(rho=rho, p=float(2 * stats.t.sf(t, n - 2)), n=n)


def spearman_rho(a: ArrayLike, b: ArrayLike) -> float:
    """The coefficient alone.

    Raises:
        InvalidInputError: as `spearman`.
    """
    x, y = _values(a, "a"), _values(b, "b")
    if len(x) != len(y):
        raise InvalidInputError("b", f"has {len(y)} values", allowed=f"{len(x)}, as many as a")
    return float(counted_rho(x, y, np.ones((1, len(x))))[0])


def counted_rho(a: NDArray[np.float64], b: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of paired values that come several times, for resampling.

    Args:
        a: One side [values], finite.
        b: The other side [values].
        counts: How often each pair comes [resamples, values].

    Returns:
        One coefficient per resample; NaN where a side is constant.
    """
    # Ranks always have the mean (n + 1) / 2.
    middle = (counts.sum(axis=1, keepdims=True) + 1) / 2
    x, y = (_counted_ranks(side, counts) - middle for side in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (counts * x * y).sum(axis=1) / np.sqrt((counts * x * x).sum(axis=1) * (counts * y * y).sum(axis=1))
    clipped: NDArray[np.float64] = np.clip(rho, -1.0, 1.0)
    return clipped


def _counted_ranks(values: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average ranks [resamples, values] of values that come several times."""
    order = np.argsort(values, kind="stable")
    _, firsts, positions = np.unique(values[order], return_index=True, return_inverse=True)
    of_distinct = np.add.reduceat(counts[:, order], firsts, axis=1)
    ranks: NDArray[np.float64] = np.empty_like(counts)
    ranks[:, order] = (np.cumsum(of_distinct, axis=1) - (of_distinct - 1) / 2)[:, positions]
    return ranks


def _values(values: ArrayLike, field: str) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) < MIN_VALUES:
        raise InvalidInputError(field, f"has the shape {found.shape}", allowed=f"a list of at least {MIN_VALUES}")
    if not np.isfinite(found).all():
        raise InvalidInputError(field, "holds a value that is not finite", allowed="finite numbers")
    if (found == found[0]).all():
        raise InvalidInputError(field, "is constant", allowed="values that vary")
    return found
