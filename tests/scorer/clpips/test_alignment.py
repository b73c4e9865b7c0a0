"""The report: figures are those of the statistics on tables made by hand; targets are drawn whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from services.common.errors import InvalidInputError
from services.common.heads import Head, head_of
from services.common.statistics import IccForm, icc
from services.scorer.clpips.alignment import agreement_of, report, scores_by
from services.scorer.clpips.rankings import RankedSet

MakeSets = Callable[..., list[RankedSet]]
Array = NDArray[np.float64]


def test_figures_are_those_of_tables_made_by_hand(lpips: Head) -> None:
    places = [(1, 2, 3, 4), (2, 2, 1, 4)]
    sets = [RankedSet(name, np.ones((4, 40), np.float32), p) for name, p in zip("ab", places, strict=True)]
    scores = [np.array([0.1, 0.3, 0.2, 0.4], np.float32), np.array([0.5, 0.5, 0.5, 0.9], np.float32)]
    found = report(sets, scores, scores[::-1], resamples=20).baseline
    human = [1, 2, 3, 4, 2.5, 2.5, 1, 4]
    metric = [1, 3, 2, 4, 2, 2, 2, 4]
    table = np.stack([human, metric], axis=1)
    assert found.agreement == icc(table, IccForm.AGREEMENT_MEAN)
    assert found.consistency == icc(table, IccForm.CONSISTENCY_MEAN)
    expected = stats.spearmanr(human, np.concatenate(scores))
    assert (found.spearman.rho, found.spearman.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert agreement_of(sets, scores) == found.agreement.value


def test_a_better_metric_has_a_significant_gain(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 15, noise=0.3)
    personal = head_of(lpips.backbone, taste)
    found = report(sets, scores_by(lpips, sets), scores_by(personal, sets), resamples=300)
    assert (found.rankings, found.pictures, found.agreement_gain.groups) == (15, 150, 15)
    for gain in (found.agreement_gain, found.consistency_gain, found.spearman_gain):
        assert 0 < gain.low < gain.difference < gain.high
        assert gain.p < 0.05
    difference = found.personal.agreement.value - found.baseline.agreement.value
    assert found.agreement_gain.difference == pytest.approx(difference)
    assert found.personal.consistency.cicchetti == "excellent"
    assert found.summary["icc2k_gain"] == found.agreement_gain.difference
    assert found.summary["personal_rho"] == found.personal.spearman.rho


def test_a_metric_does_not_gain_on_itself_whatever_its_scale(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 5)
    same = head_of(lpips.backbone, lpips.array * 8)
    found = report(sets, scores_by(lpips, sets), scores_by(same, sets), resamples=30)
    assert found.baseline == found.personal
    assert (found.agreement_gain.difference, found.agreement_gain.p) == (0.0, 1.0)


def test_rankings_of_one_target_are_one_group(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    a, b, c = make_sets(taste, 3, noise=0.5)
    again = RankedSet(a.target, a.differences, a.places[::-1])
    sets = [a, b, again, c]
    found = report(sets, scores_by(lpips, sets), scores_by(lpips, sets), resamples=10)
    assert (found.agreement_gain.groups, found.rankings, found.pictures) == (3, 4, 40)


def test_one_target_makes_no_report(lpips: Head, taste: Array, make_sets: MakeSets) -> None:
    sets = make_sets(taste, 1)
    with pytest.raises(InvalidInputError, match="at least 2"):
        report(sets, scores_by(lpips, sets), scores_by(lpips, sets))
