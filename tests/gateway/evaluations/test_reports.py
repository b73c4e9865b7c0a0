"""Figures of evaluations: checked against scipy, and through the API."""

from __future__ import annotations

import random

import grpc
import pytest
from scipy import stats

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from likeness.types.v1 import score_pb2
from services.common.errors import InvalidInputError
from services.gateway.domain import ItemError, Score
from services.gateway.evaluations.model import EvaluatedImage
from services.gateway.evaluations.reports import ItemValues, figures, figures_of, item_values
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.doubles import likeness
from tests.gateway.evaluations.manifesting import create, jsonl, pair, watched
from tests.gateway.evaluations.streaming import COLORS
from tests.gateway.failures import reason_of


def image(*raws: float, metric: str = "m", lower: bool = False, error: bool = False) -> tuple[EvaluatedImage, ...]:
    """Pictures with these raw values."""
    failure = ItemError("INTERNAL", "broken") if error else None
    return tuple(EvaluatedImage((Score(metric, "1", raw, 0.5, not lower, error=failure),)) for raw in raws)


def test_an_item_counts_once_with_the_mean_of_its_pictures() -> None:
    assert item_values("a", "g", "s", image(1.0, 2.0, 6.0)).values == {"m": 3.0}
    assert item_values("a", "g", "s", image(1.0, error=True)).values == {}
    assert item_values("a", "g", "s", image(float("inf"), 1.0)).values == {}
    assert item_values("a", "g", "s", (*image(1.0), EvaluatedImage(error=ItemError("X", "x")))).values == {"m": 1.0}


def items(noise: random.Random, count: int = 20, gain: float = 0.3) -> list[ItemValues]:
    """The same items under two systems, in two groups, of different difficulty."""
    found = []
    for number in range(count):
        group, base = f"g{number % 2}", noise.gauss(0, 1)
        found.append(ItemValues(f"i{number}", group, "plain", {"m": base}))
        found.append(ItemValues(f"i{number}", group, "refined", {"m": base + gain + noise.gauss(0, 0.5)}))
    noise.shuffle(found)
    return found


def test_systems_are_paired_by_item_as_scipy_does() -> None:
    values = items(random.Random(3))
    report = figures_of(values, ["m"], "plain")
    for group in ("", "g0", "g1"):
        chosen = {(one.item_id, one.system): one.values["m"] for one in values if group in ("", one.group)}
        names = sorted({item_id for item_id, _ in chosen})
        plain, refined = ([chosen[name, system] for name in names] for system in ("plain", "refined"))
        (found,) = (one for one in report.comparisons if one.group == group)
        expected = stats.ttest_rel(refined, plain)
        interval = expected.confidence_interval(0.95)
        assert found.paired.t_p == pytest.approx(expected.pvalue)
        assert found.paired.difference.low == pytest.approx(interval.low)
        assert found.paired.difference.n == len(names)
        assert found.paired.wins == sum(b > a for a, b in zip(plain, refined, strict=True))
        (mean,) = (one for one in report.means if (one.group, one.system) == (group, "refined"))
        assert mean.interval is not None
        low, high = stats.t.interval(0.95, len(names) - 1, mean.interval.mean, stats.sem(refined))
        assert (mean.interval.low, mean.interval.high) == pytest.approx((low, high))


def test_where_lower_is_better_a_lower_value_wins() -> None:
    values = [
        item_values("a", "", "x", image(1.0, lower=True)),
        item_values("a", "", "y", image(0.5, lower=True)),
    ]
    report = figures_of(values, ["m"])
    (found,) = report.comparisons
    assert (found.baseline, found.system, found.paired.wins, found.paired.losses) == ("x", "y", 1, 0)
    assert found.paired.difference.mean == -0.5
    assert not report.means[0].higher_is_better


def test_only_items_that_both_have_are_compared() -> None:
    values = [
        ItemValues("a", "g", "x", {"m": 1.0}),
        ItemValues("a", "other", "y", {"m": 5.0}),
        ItemValues("b", "g", "x", {"m": 1.0}),
        ItemValues("b", "g", "y", {"m": 2.0}),
        ItemValues("c", "g", "y", {}),
        # The same item twice under one system counts with its mean.
        ItemValues("b", "g", "y", {"m": 4.0}),
    ]
    report = figures_of(values, ["m"])
    pairs = {one.group: one.paired.difference for one in report.comparisons}
    assert pairs.keys() == {"", "g"} and pairs[""].n == 1 and pairs[""].mean == 2.0
    (mean,) = (one for one in report.means if (one.group, one.system) == ("g", "y"))
    assert mean.failed_count == 1 and mean.interval is not None and mean.interval.n == 2


def test_groups_come_in_order_all_items_first() -> None:
    report = figures_of(items(random.Random(1)), ["m", "absent"])
    assert [(one.metric, one.group, one.system) for one in report.means][:4] == [
        ("m", "", "plain"),
        ("m", "", "refined"),
        ("m", "g0", "plain"),
        ("m", "g0", "refined"),
    ]
    absent = [one for one in report.means if one.metric == "absent"]
    assert absent and all(one.interval is None and one.failed_count for one in absent)


def test_nothing_is_done_for_pairs_of_group_and_system_that_no_item_has(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []
    monkeypatch.setattr(figures, "_mean", lambda _, *place: asked.append(place))
    figures_of([ItemValues("i", f"g{number}", f"s{number}", {"m": 1.0}) for number in range(50)], ["m"])
    assert sorted(asked) == sorted(("m", group, f"s{n}") for n in range(50) for group in ("", f"g{n}"))


def test_an_error_names_some_systems_of_many() -> None:
    with pytest.raises(InvalidInputError) as caught:
        figures_of([ItemValues("i", "", f"s{number:03}", {"m": 1.0}) for number in range(1000)], ["m"], "none")
    assert "s009 and 990 more" in caught.value.message and "s010" not in caught.value.message


def test_a_baseline_that_is_no_system_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="plain, refined"):
        figures_of(items(random.Random(1)), ["m"], "baseline")
    assert figures_of([], ["m"]).means == ()


@pytest.mark.integration
async def test_a_report_through_the_api(gateway: Gateway) -> None:
    rows = [pair(n, item_id=str(n), system="a", group=f"g{n % 2}") for n in range(6)]
    rows += [pair(n + 1, item_id=str(n), system="b", group=f"g{n % 2}") for n in range(6)] + [{"item_id": "bad"}]
    name = await create(gateway, jsonl(rows))
    await watched(gateway, name)
    request = service_pb.GetEvaluationReportRequest(name=name, baseline="b")
    report = (await gateway.evaluations.GetEvaluationReport(request)).report
    assert report.evaluation.state == pb.Evaluation.STATE_SUCCEEDED
    expected = [likeness(TARGET, COLORS[n]) for n in range(6)]
    (mean,) = (one for one in report.means if (one.metric, one.group, one.system) == ("pixels", "", "a"))
    assert mean.mean == pytest.approx(sum(expected) / 6) and mean.count == 6
    assert mean.direction == score_pb2.DIRECTION_HIGHER_IS_BETTER
    (found,) = (one for one in report.comparisons if (one.metric, one.group, one.system) == ("pixels", "g0", "a"))
    first = [likeness(TARGET, COLORS[n]) for n in (0, 2, 4)]
    second = [likeness(TARGET, COLORS[n]) for n in (1, 3, 5)]
    assert found.pair_count == 3 and found.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert found.win_count + found.tie_count + found.loss_count == 3
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.evaluations.GetEvaluationReport(
            service_pb.GetEvaluationReportRequest(name=name, baseline="nobody")
        )
    assert reason_of(caught.value)[1] == "INVALID_FIELD"
