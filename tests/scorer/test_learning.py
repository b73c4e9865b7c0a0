"""A fit as the service runs it: what is learned, when nothing can be compared, when it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.common.errors import CancelledError
from services.common.heads import Head, head_of
from services.scorer import differences
from services.scorer.clpips.alignment import scores_by
from services.scorer.clpips.fitting import fit_profile
from services.scorer.clpips.rankings import RankedSet
from services.scorer.domain import FitQuery, RankedDifferences, SentHead
from services.scorer.learning import learn
from services.scorer.metrics.lpips_distance import Lpips

MakeRankings = Callable[..., tuple[RankedDifferences, ...]]


def _never() -> None:
    return None


def _set(metric: Lpips, ranking: RankedDifferences) -> RankedSet:
    return RankedSet(ranking.target, differences.decode(metric, ranking.differences, "x"), ranking.places)


def _sent(head: Head, field: str = "parent") -> SentHead:
    backbone = head.backbone
    return SentHead(
        field=field,
        metric=backbone.metric,
        backbone_revision=backbone.revision,
        layer_channels=backbone.layers,
        weights=head.weights,
        recipe=head.recipe,
        parent_revision=head.parent,
        revision=head.revision,
    )


def test_the_head_is_that_of_the_sets_sent(lpips_metric: Lpips, make_rankings: MakeRankings) -> None:
    rankings = make_rankings(3)
    taste = head_of(lpips_metric.head.backbone, lpips_metric.head.array[::-1])
    found = learn(lpips_metric, FitQuery(_sent(lpips_metric.head), rankings, (_sent(taste, "tastes[0]"),)), _never)
    sets = [_set(lpips_metric, ranking) for ranking in rankings]
    expected = fit_profile(lpips_metric.head, sets, lpips=lpips_metric.head, tastes=[taste])
    assert found.outcome == expected
    assert found.outcome.head != fit_profile(lpips_metric.head, sets, lpips=lpips_metric.head).head
    assert found.alignment is not None
    assert expected.held_out is not None
    assert found.alignment.personal.agreement.value == expected.held_out.fitted
    assert found.alignment.baseline.agreement.value == expected.held_out.lpips


def test_a_fit_is_answered_where_its_metrics_cannot_be_compared(
    lpips_metric: Lpips, make_rankings: MakeRankings
) -> None:
    """A person who turns LPIPS's order of a target round has no finite ICC with it on that target alone."""
    first, second = make_rankings(2, pictures=3)
    (by_lpips,) = scores_by(lpips_metric.head, [_set(lpips_metric, first)])
    first = replace(first, places=tuple((-by_lpips).tolist()))
    found = learn(lpips_metric, FitQuery(_sent(lpips_metric.head), (first, second), ()), _never)
    assert found.alignment is None
    assert found.outcome.held_out is not None
    assert (found.rankings, found.targets) == (2, 2)


def test_a_cancelled_fit_stops_before_it_learns(
    lpips_metric: Lpips, make_rankings: MakeRankings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    def check() -> None:
        if next(calls) == 2:
            raise CancelledError()

    def no_fit(*_: object, **__: object) -> None:
        raise AssertionError("it learned")

    monkeypatch.setattr("services.scorer.learning.fit_profile", no_fit)
    with pytest.raises(CancelledError):
        learn(lpips_metric, FitQuery(_sent(lpips_metric.head), make_rankings(2), ()), check)
