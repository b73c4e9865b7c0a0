"""Intraclass correlation (ICC) of raters over targets, and the bands it is read by.

Every target is rated once by every rater. With MSR, MSC and MSE the mean squares of targets, raters and error of the
two-way analysis of variance, n targets and k raters:

    ICC(2,1) = (MSR - MSE) / (MSR + (k - 1) MSE + k (MSC - MSE) / n)     one rating, absolute agreement
    ICC(2,k) = (MSR - MSE) / (MSR + (MSC - MSE) / n)                     mean of k ratings, absolute agreement
    ICC(3,1) = (MSR - MSE) / (MSR + (k - 1) MSE)                         one rating, consistency
    ICC(3,k) = (MSR - MSE) / MSR                                         mean of k ratings, consistency

All test ICC = 0 by F = MSR / MSE with n - 1 and (n - 1)(k - 1) degrees of freedom. Largest value 1; single forms of
consistency reach down to -1 / (k - 1), the other forms below it without bound.
Sources: Shrout & Fleiss 1979, "Intraclass correlations: uses in assessing rater reliability" (values); McGraw & Wong
1996, "Forming inferences about some intraclass correlation coefficients" (intervals, with their erratum);
Koo & Li 2016 and Cicchetti 1994 (bands).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from services.common.errors import InvalidInputError

TAIL = 0.025
"""Share left out at either end of a 95 % interval."""

Ratings = NDArray[np.float64]


class IccForm(StrEnum):
    """Shrout and Fleiss's name of a form; 2 means absolute agreement of raters, 3 their consistency."""

    AGREEMENT_SINGLE = "ICC(2,1)"
    AGREEMENT_MEAN = "ICC(2,k)"
    CONSISTENCY_SINGLE = "ICC(3,1)"
    CONSISTENCY_MEAN = "ICC(3,k)"


class KooLiBand(StrEnum):
    """Koo and Li's reading: below .5 poor, up to .75 moderate, up to .9 good, above it excellent."""

    POOR = "poor"
    MODERATE = "moderate"
    GOOD = "good"
    EXCELLENT = "excellent"


class CicchettiBand(StrEnum):
    """Cicchetti's reading: below .40 poor, up to .60 fair, up to .75 good, from there excellent."""

    POOR = "poor"
    FAIR = "fair"
    GOOD = "good"
    EXCELLENT = "excellent"


@dataclass(frozen=True)
class Icc:
    """An intraclass correlation with its test and its 95 % confidence interval `low` to `high`.

    The interval of an agreement form is an approximation; for a negative value over few targets its ends may cross.
    """

    form: IccForm
    value: float
    low: float
    high: float
    f: float
    df1: int
    df2: int
    p: float
    targets: int
    """Targets that every rater rated."""
    raters: int
    dropped_targets: int
    """Targets left out because a rating is missing."""

    @property
    def koo_li(self) -> KooLiBand:
        """Koo and Li's band of the value."""
        return koo_li_band(self.value)

    @property
    def cicchetti(self) -> CicchettiBand:
        """Cicchetti's band of the value."""
        return cicchetti_band(self.value)


@dataclass(frozen=True)
class _MeanSquares:
    """Of a two-way analysis of variance without repetition: `row` of targets, `column` of raters."""

    row: float
    column: float
    error: float
    n: int
    k: int


def icc(ratings: ArrayLike, form: IccForm) -> Icc:
    """Agreement of raters.

    Args:
        ratings: [targets, raters]; NaN is a missing rating, which leaves its target out.
        form: Which of the four coefficients.

    Raises:
        InvalidInputError: fewer than two raters or complete targets, infinite ratings, or no rater tells any two
            targets apart, which leaves the coefficient undefined.
    """
    values = _matrix(ratings)
    complete = values[~np.isnan(values).any(axis=1)]
    squares = _mean_squares(complete)
    f = squares.row / squares.error if squares.error > 0 else math.inf
    df1, df2 = squares.n - 1, (squares.n - 1) * (squares.k - 1)
    low, high = _interval(squares, f, form)
    return Icc(
        form=form,
        value=_value(squares, form),
        low=low,
        high=high,
        f=f,
        df1=df1,
        df2=df2,
        p=float(stats.f.sf(f, df1, df2)),
        targets=squares.n,
        raters=squares.k,
        dropped_targets=len(values) - len(complete),
    )


def icc_value(ratings: Ratings, form: IccForm) -> float:
    """The coefficient alone, of complete ratings [targets, raters].

    -inf where the denominator is not positive, as it is where raters contradict each other about every target.

    Raises:
        InvalidInputError: as `icc`; a missing rating is not allowed here.
    """
    return _value(_mean_squares(_matrix(ratings)), form)


def counted_icc(ratings: Ratings, counts: NDArray[np.float64], form: IccForm) -> NDArray[np.float64]:
    """Coefficients of complete ratings whose targets come several times, for resampling.

    Args:
        ratings: [targets, raters].
        counts: How often each target comes [resamples, targets].
        form: Which of the four coefficients.

    Returns:
        One coefficient per resample; -inf where the denominator is not positive, as in `icc_value`.
    """
    k = ratings.shape[1]
    # About the mean of all: the sums of squares then lose no digits.
    centred = ratings - ratings.mean()
    n = counts.sum(axis=1)
    grand = counts @ centred.sum(axis=1) / (n * k)
    rows = k * (counts @ centred.mean(axis=1) ** 2) - n * k * grand**2
    columns = n * (((counts @ centred / n[:, None]) - grand[:, None]) ** 2).sum(axis=1)
    total = counts @ (centred**2).sum(axis=1) - n * k * grand**2
    error = np.maximum(total - rows - columns, 0.0) / ((n - 1) * (k - 1))
    return _coefficients(rows / (n - 1), columns / (k - 1), error, n, k, form)


def koo_li_band(value: float) -> KooLiBand:
    """Band of a coefficient; a limit belongs to the band above it, but .9 is still good, as the authors word it."""
    _check_number(value)
    if value < 0.5:
        return KooLiBand.POOR
    if value < 0.75:
        return KooLiBand.MODERATE
    return KooLiBand.GOOD if value <= 0.9 else KooLiBand.EXCELLENT


def cicchetti_band(value: float) -> CicchettiBand:
    """Band of a coefficient; a limit belongs to the band above it."""
    _check_number(value)
    if value < 0.4:
        return CicchettiBand.POOR
    if value < 0.6:
        return CicchettiBand.FAIR
    return CicchettiBand.GOOD if value < 0.75 else CicchettiBand.EXCELLENT


def _matrix(ratings: ArrayLike) -> Ratings:
    values: Ratings = np.asarray(ratings, dtype=np.float64)
    if values.ndim != 2:
        raise InvalidInputError("ratings", f"have {values.ndim} dimensions", allowed="2: targets, raters")
    if values.shape[1] < 2:
        raise InvalidInputError("ratings", f"are of {values.shape[1]} rater", allowed="at least 2 raters")
    if np.isinf(values).any():
        raise InvalidInputError("ratings", "hold an infinite value", allowed="finite numbers")
    return values


def _mean_squares(values: Ratings) -> _MeanSquares:
    n, k = values.shape
    if n < 2:
        raise InvalidInputError("ratings", f"are complete for {n} targets", allowed="at least 2 targets")
    if (values == values[0]).all():
        raise InvalidInputError("ratings", "do not differ between targets", allowed="ratings that vary")
    grand = values.mean()
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    residual = values - rows[:, None] - columns + grand
    return _MeanSquares(
        row=float(k * ((rows - grand) ** 2).sum() / (n - 1)),
        column=float(n * ((columns - grand) ** 2).sum() / (k - 1)),
        error=float((residual**2).sum() / ((n - 1) * (k - 1))),
        n=n,
        k=k,
    )


def _value(squares: _MeanSquares, form: IccForm) -> float:
    row, column, error, n = (np.array(value) for value in (squares.row, squares.column, squares.error, squares.n))
    return float(_coefficients(row, column, error, n, squares.k, form))


def _coefficients(
    row: Ratings, column: Ratings, error: Ratings, n: NDArray[Any], k: int, form: IccForm
) -> NDArray[np.float64]:
    """Coefficients of mean squares, elementwise."""
    between_raters = (column - error) / n
    denominator = {
        IccForm.AGREEMENT_SINGLE: row + (k - 1) * error + k * between_raters,
        IccForm.AGREEMENT_MEAN: row + between_raters,
        IccForm.CONSISTENCY_SINGLE: row + (k - 1) * error,
        IccForm.CONSISTENCY_MEAN: row,
    }[form]
    found: NDArray[np.float64] = np.full(np.shape(denominator), -np.inf)
    np.divide(row - error, denominator, out=found, where=denominator > 0)
    return found


def _interval(squares: _MeanSquares, f: float, form: IccForm) -> tuple[float, float]:
    consistent = form in (IccForm.CONSISTENCY_SINGLE, IccForm.CONSISTENCY_MEAN)
    low, high = _consistency_interval(squares, f) if consistent else _agreement_interval(squares)
    if form in (IccForm.AGREEMENT_MEAN, IccForm.CONSISTENCY_MEAN):
        return _of_mean(low, squares.k), _of_mean(high, squares.k)
    return low, high


def _consistency_interval(squares: _MeanSquares, f: float) -> tuple[float, float]:
    n, k = squares.n, squares.k
    if math.isinf(f):
        return 1.0, 1.0
    df1, df2 = n - 1, (n - 1) * (k - 1)
    low = f / float(stats.f.isf(TAIL, df1, df2))
    high = f * float(stats.f.isf(TAIL, df2, df1))
    return (low - 1) / (low + k - 1), (high - 1) / (high + k - 1)


def _agreement_interval(squares: _MeanSquares) -> tuple[float, float]:
    n, k, row, column, error = squares.n, squares.k, squares.row, squares.column, squares.error
    value = _value(squares, IccForm.AGREEMENT_SINGLE)
    if column == error == 0:
        return 1.0, 1.0
    if math.isinf(value):
        return -math.inf, 1.0
    # Satterthwaite's degrees of freedom of a MSC + b MSE; McGraw & Wong's a and b times n (1 - ICC), so that
    # neither perfect agreement nor MSE = 0 divides by zero.
    by_raters = k * value * column
    by_error = (n * (1 + (k - 1) * value) - k * value) * error
    df = (k - 1) * (by_raters + by_error) ** 2 / (by_raters**2 + by_error**2 / (n - 1))
    upper = float(stats.f.isf(TAIL, n - 1, df)) if df > 0 else math.inf
    if math.isinf(upper):
        # Strong disagreement can cancel the degrees of freedom: the approximation says nothing then.
        return -math.inf, 1.0
    lower = float(stats.f.isf(TAIL, df, n - 1))
    rest = k * column + (k * n - k - n) * error
    return n * (row - upper * error) / (upper * rest + n * row), n * (lower * row - error) / (rest + n * lower * row)


def _of_mean(single: float, k: int) -> float:
    """Spearman and Brown's step from one rating to the mean of k."""
    denominator = 1 + (k - 1) * single
    return k * single / denominator if denominator > 0 else -math.inf


def _check_number(value: float) -> None:
    if math.isnan(value):
        raise InvalidInputError("value", "is not a number", allowed="a coefficient")
