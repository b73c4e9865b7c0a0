"""Paired bootstrap over groups: by how much does a statistic differ between two methods rated on the same items?

Items of one group, such as the pictures of one target, are not independent, so whole groups are drawn with
replacement, the same ones for both methods. The interval is the percentile one. The two-sided p of no difference is
twice the share of resamples on the smaller side of zero, both counts plus one, so that it is never 0: at least
2 / (resamples + 1).
Source: Efron & Tibshirani 1993, "An introduction to the bootstrap", chapters 13 and 15.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidInputError

RESAMPLES = 10_000

BLOCK_VALUES = 4_000_000
"""Resamples are worked through in blocks of at most so many counts: 32 MB."""

Items = NDArray[np.float64]
"""[items, columns] of one group."""
Counts = NDArray[np.float64]
"""[resamples, items]: how often each item is in each resample."""
Statistic = Callable[[Items, Counts], NDArray[np.float64]]
"""A statistic of items taken so many times, one value a resample; see `counted_icc` and `counted_rho`."""


@dataclass(frozen=True)
class BootstrapDifference:
    """statistic(second) - statistic(first), with its 95 % confidence interval `low` to `high`."""

    difference: float
    low: float
    high: float
    p: float
    groups: int
    resamples: int
    seed: int


def paired_bootstrap(
    first: Sequence[Items],
    second: Sequence[Items],
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BootstrapDifference:
    """Difference of a statistic of two methods; equal arguments give equal results.

    Args:
        first: Items of each group by the one method.
        second: Items of the same groups, in the same order, by the other.
        statistic: Of the items of all groups, one under the other, and how often each counts.
        resamples: How often the groups are drawn.
        seed: Of the drawing.

    Raises:
        InvalidInputError: fewer than two groups or resamples, groups that do not pair, or a resample whose statistic
            is not finite.
    """
    sizes = [len(items) for items in first]
    if len(first) < 2:
        raise InvalidInputError("groups", f"are {len(first)}", allowed="at least 2")
    if sizes != [len(items) for items in second]:
        raise InvalidInputError("groups", "do not pair", allowed="the same groups of the same items for both methods")
    if resamples < 2:
        raise InvalidInputError("resamples", f"are {resamples}", allowed="at least 2")
    one, other = np.concatenate(first), np.concatenate(second)
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK_VALUES // len(one))
    parts = []
    # Infinities that cancel are reported below.
    with np.errstate(invalid="ignore"):
        for start in range(0, resamples, block):
            drawn = rng.integers(0, len(sizes), (min(block, resamples - start), len(sizes)))
            counts = _counts(drawn, sizes)
            parts.append(statistic(other, counts) - statistic(one, counts))
        once = np.ones((1, len(one)))
        observed = float((statistic(other, once) - statistic(one, once))[0])
    differences = np.concatenate(parts)
    if not (np.isfinite(differences).all() and np.isfinite(observed)):
        raise InvalidInputError("groups", "have no finite statistic in some resample", allowed="items that vary")
    low, high = np.percentile(differences, [2.5, 97.5])
    return BootstrapDifference(
        difference=observed,
        low=float(low),
        high=float(high),
        p=_two_sided_p(differences),
        groups=len(sizes),
        resamples=resamples,
        seed=seed,
    )


def _counts(drawn: NDArray[np.int64], sizes: Sequence[int]) -> Counts:
    """How often each item is in each resample, by the groups drawn [resamples, draws]."""
    resamples, groups = len(drawn), len(sizes)
    places = drawn + np.arange(resamples)[:, None] * groups
    of_groups = np.bincount(places.ravel(), minlength=resamples * groups).reshape(resamples, groups)
    return np.repeat(of_groups, sizes, axis=1).astype(np.float64)


def _two_sided_p(differences: NDArray[np.float64]) -> float:
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))
