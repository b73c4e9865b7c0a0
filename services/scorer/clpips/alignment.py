"""How well heads agree with people, side by side: the paper's tables 3 and 4.

Spearman's rho of human rank and distance over all pictures of all sets, pooled as in the paper. Intraclass correlation
of two raters, the person and the head, who each rank the pictures within their set; an item is a picture. Ties share
the mean rank. The difference between two heads is tested by a paired bootstrap over targets, because the pictures of a
target are no independent items; the intervals of the coefficients themselves are narrower than they should be for that
reason, as they are in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.heads import Distances, Head, distances
from services.common.statistics import (
    BootstrapDifference,
    Icc,
    IccForm,
    Spearman,
    Statistic,
    average_ranks,
    counted_icc,
    counted_rho,
    icc,
    icc_value,
    paired_bootstrap,
    spearman,
)
from services.scorer.clpips.rankings import RankedSet, targets_of

RESAMPLES = 2_000
"""Enough for a p of .001."""

Table = NDArray[np.float64]
"""[pictures, (human rank, rank by distance, distance)]"""


@dataclass(frozen=True)
class Alignment:
    """One row of table 3; both coefficients know their bands."""

    spearman: Spearman
    agreement: Icc
    """ICC(2,k)"""
    consistency: Icc
    """ICC(3,k)"""


@dataclass(frozen=True)
class AlignmentReport:
    """Two metrics on the same held-out rankings, and the gain of the second one over the first: table 4."""

    baseline: Alignment
    personal: Alignment
    spearman_gain: BootstrapDifference
    agreement_gain: BootstrapDifference
    consistency_gain: BootstrapDifference
    rankings: int
    pictures: int

    @property
    def summary(self) -> dict[str, float]:
        """The figures that are kept with a head."""
        return {
            "baseline_rho": self.baseline.spearman.rho,
            "baseline_icc2k": self.baseline.agreement.value,
            "baseline_icc3k": self.baseline.consistency.value,
            "personal_rho": self.personal.spearman.rho,
            "personal_icc2k": self.personal.agreement.value,
            "personal_icc3k": self.personal.consistency.value,
            "icc2k_gain": self.agreement_gain.difference,
            "icc2k_gain_low": self.agreement_gain.low,
            "icc2k_gain_high": self.agreement_gain.high,
            "icc2k_gain_p": self.agreement_gain.p,
            "targets": float(self.agreement_gain.groups),
            "rankings": float(self.rankings),
        }


def scores_by(head: Head, sets: Sequence[RankedSet]) -> list[Distances]:
    """Distances of the pictures of each set."""
    return [distances(head, ranked.differences) for ranked in sets]


def agreement_of(sets: Sequence[RankedSet], scores: Sequence[Distances]) -> float:
    """ICC(2,k) of the people and a metric that gave these distances."""
    rows = np.concatenate([_table(*pair) for pair in zip(sets, scores, strict=True)])
    return icc_value(rows[:, :2], IccForm.AGREEMENT_MEAN)


def report(
    sets: Sequence[RankedSet],
    baseline: Sequence[Distances],
    personal: Sequence[Distances],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AlignmentReport:
    """Compares two metrics by the distances that they gave to the pictures of held-out sets.

    Raises:
        InvalidInputError: fewer than two targets, or distances that do not vary.
    """
    first, second = (_by_target(sets, scores) for scores in (baseline, personal))

    def gain(statistic: Statistic) -> BootstrapDifference:
        return paired_bootstrap(first, second, statistic, resamples=resamples, seed=seed)

    return AlignmentReport(
        baseline=_alignment(np.concatenate(first)),
        personal=_alignment(np.concatenate(second)),
        spearman_gain=gain(_rho),
        agreement_gain=gain(_agreement),
        consistency_gain=gain(_consistency),
        rankings=len(sets),
        pictures=sum(len(table) for table in first),
    )


def _table(ranked: RankedSet, scores: Distances) -> Table:
    return np.stack([ranked.ranks, average_ranks(scores), scores.astype(np.float64)], axis=1)


def _by_target(sets: Sequence[RankedSet], scores: Sequence[Distances]) -> list[Table]:
    tables = [(ranked.target, _table(ranked, values)) for ranked, values in zip(sets, scores, strict=True)]
    return [np.concatenate([table for name, table in tables if name == target]) for target in targets_of(sets)]


def _alignment(rows: Table) -> Alignment:
    return Alignment(
        spearman=spearman(rows[:, 0], rows[:, 2]),
        agreement=icc(rows[:, :2], IccForm.AGREEMENT_MEAN),
        consistency=icc(rows[:, :2], IccForm.CONSISTENCY_MEAN),
    )


def _rho(rows: Table, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return counted_rho(rows[:, 0], rows[:, 2], counts)


def _agreement(rows: Table, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return counted_icc(rows[:, :2], counts, IccForm.AGREEMENT_MEAN)


def _consistency(rows: Table, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return counted_icc(rows[:, :2], counts, IccForm.CONSISTENCY_MEAN)
