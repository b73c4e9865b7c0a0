"""Figures of evaluations: checked against scipy, and through the API."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any

import grpc
import pytest
from scipy import stats

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from likeness.types.v1 import score_pb2
from services.common.errors import InvalidInputError, PreconditionError, Reason
from services.common.statistics import MeanInterval, mean_interval, paired_comparison
from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.evaluations.reports import (
    MAX_TOLD,
    Figures,
    ItemValues,
    Report,
    ScoreValue,
    Systems,
    cells,
    chosen_baseline,
    item_values,
)
from services.gateway.store import evaluation_values
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.doubles import likeness
from tests.gateway.evaluations.manifesting import create, inline, jsonl, pair, watched
from tests.gateway.evaluations.streaming import COLORS
from tests.gateway.failures import reason_of


def figures_of(items: Iterable[ItemValues], metrics: Sequence[str], baseline: str = "", *, page: int = 7) -> Report:
    """Figures of items that come page by page, sorted as the store gives them."""
    ordered = sorted(items, key=lambda one: (one.group, one.item_id))
    names = sorted({one.system for one in ordered})
    chosen = chosen_baseline(baseline, Systems(tuple(names[:MAX_TOLD]), len(names)), is_known=baseline in names)
    figures = Figures(metrics, chosen)
    for start in range(0, len(ordered), page):
        figures.add(ordered[start : start + page])
    return figures.report()


def scores(*raws: float, metric: str = "m", higher: bool = True) -> list[ScoreValue]:
    """Scores of pictures with these raw values."""
    return [ScoreValue(metric, raw, higher) for raw in raws]


def test_an_item_counts_once_with_the_mean_of_its_pictures() -> None:
    assert item_values("a", "g", "s", scores(1.0, 2.0, 6.0)).values == {"m": 3.0}
    assert item_values("a", "g", "s", []).values == {}
    assert item_values("a", "g", "s", scores(float("inf"), 1.0)).values == {}
    two = item_values("a", "g", "s", [*scores(1.0), *scores(2.0, 4.0, metric="n", higher=False)])
    assert two.values == {"m": 1.0, "n": 3.0} and two.lower_is_better == {"n"}


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
        assert found.t_p == pytest.approx(expected.pvalue, rel=1e-12)
        assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
        assert found.difference.n == len(names)
        assert found.wins == sum(b > a for a, b in zip(plain, refined, strict=True))
        (mean,) = (one for one in report.means if (one.group, one.system) == (group, "refined"))
        assert mean.interval is not None
        low, high = stats.t.interval(0.95, len(names) - 1, mean.interval.mean, stats.sem(refined))
        assert (mean.interval.low, mean.interval.high) == pytest.approx((low, high), rel=1e-12)


def hard(noise: random.Random, count: int) -> list[ItemValues]:
    """Items as they come: three systems, values far from 0, repeated names, missing metrics, items in no group."""
    found = []
    for number in range(count):
        group, name = noise.choice(["", "g", "h"]), f"i{noise.randrange(count // 2)}"
        values = {"m": 50.0 + noise.gauss(0, 1), "n": round(noise.random(), 1), "level": 0.1}
        kept = {metric: value for metric, value in values.items() if noise.random() > 0.1}
        system = noise.choice(["a", "b", "c"]) if number else "only once"
        found.append(ItemValues(name, group, system, kept, frozenset({"n"} & kept.keys())))
    return found


def expected_of(values: Sequence[ItemValues], metric: str, group: str, system: str, baseline: str) -> tuple[Any, ...]:
    """The same figures with all values at hand: count of failures, mean interval, comparison."""
    mine = [one for one in values if one.system == system and group in ("", one.group)]
    known = [one.values[metric] for one in mine if metric in one.values]

    def by_name(system: str) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], list[float]] = {}
        for one in values:
            if one.system == system and group in ("", one.group) and metric in one.values:
                found.setdefault((one.group, one.item_id), []).append(one.values[metric])
        return {name: sum(several) / len(several) for name, several in found.items()}

    ours, theirs = by_name(system), by_name(baseline)
    both = sorted(ours.keys() & theirs.keys()) if system != baseline else []
    compared = paired_comparison([ours[name] for name in both], [theirs[name] for name in both]) if both else None
    return len(mine) - len(known), mean_interval(known) if known else None, compared


@pytest.mark.filterwarnings("ignore:Sample size too small")
@pytest.mark.parametrize(("seed", "count", "page"), [(1, 8, 1), (2, 60, 7), (3, 3000, 1000), (4, 3000, 1)])
def test_page_by_page_gives_what_all_values_at_once_give(seed: int, count: int, page: int) -> None:
    values, metrics = hard(random.Random(seed), count), ["m", "n", "level", "absent"]
    report = figures_of(values, metrics, "b" if count > 8 else "", page=page)
    baseline = report.comparisons[0].baseline if report.comparisons else "a"
    comparisons = {(one.metric, one.group, one.system): one for one in report.comparisons}
    systems = {group: {one.system for one in values if group in ("", one.group)} for group in ("", "g", "h")}
    assert [(one.metric, one.group, one.system) for one in report.means] == [
        (metric, group, system) for metric in metrics for group in ("", "g", "h") for system in sorted(systems[group])
    ]
    for mean in report.means:
        place = (mean.metric, mean.group, mean.system)
        failed, interval, compared = expected_of(values, *place, baseline)
        assert mean.failed_count == failed and mean.higher_is_better == (mean.metric != "n")
        assert numbers_of(mean.interval) == pytest.approx(numbers_of(interval), rel=1e-12)
        found = comparisons.pop(place, None)
        assert (found is None) == (compared is None)
        if found is not None:
            better = (compared.wins, compared.losses) if mean.higher_is_better else (compared.losses, compared.wins)
            assert (found.wins, found.losses, found.ties) == (*better, compared.ties)
            assert numbers_of(found.difference) == pytest.approx(numbers_of(compared.difference), rel=1e-12)
            assert found.t_p == (None if compared.t_p is None else pytest.approx(compared.t_p, rel=1e-12))
    assert not comparisons


def numbers_of(interval: MeanInterval | None) -> list[float]:
    """What an interval says, as far as it says anything."""
    return [] if interval is None else [one for one in astuple(interval) if one is not None]


def test_memory_is_that_of_the_report_and_not_of_the_items() -> None:
    def held(count: int) -> int:
        figures = Figures(["m"], "a")
        tracemalloc.start()
        try:
            for number in range(count):
                pair = (ItemValues(f"i{number}", "g", system, {"m": number * 1.1}) for system in ("a", "b"))
                figures.add(pair)
            size = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert figures.report().comparisons[0].difference.n == count
        return size

    held(10)
    assert held(20_000) < held(20) + 20_000


def test_where_lower_is_better_a_lower_value_wins() -> None:
    values = [
        item_values("a", "", "x", scores(1.0, higher=False)),
        item_values("a", "", "y", scores(0.5, higher=False)),
    ]
    report = figures_of(values, ["m"])
    (found,) = report.comparisons
    assert (found.baseline, found.system, found.wins, found.losses) == ("x", "y", 1, 0)
    assert found.difference.mean == -0.5
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
    report = figures_of(values, ["m"], page=1)
    pairs = {one.group: one.difference for one in report.comparisons}
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


def test_there_are_only_cells_that_have_items_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MAX_CELLS", 50)
    values = [ItemValues("i", f"g{number:02}", f"s{number}", {"m": 1.0}) for number in range(51)]
    report = figures_of(values[:50], ["m"])
    assert sorted((one.group, one.system) for one in report.means) == sorted(
        (group, f"s{number}") for number in range(50) for group in ("", f"g{number:02}")
    )
    with pytest.raises(PreconditionError) as caught:
        figures_of(values, ["m"])
    assert caught.value.reason is Reason.REPORT_TOO_LARGE and "more groups and systems" in caught.value.message


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


@pytest.mark.integration
async def test_values_come_from_the_store_in_pages_of_one_moment(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_values, "PAGE_ROWS", 7)
    gateway.parts.scorer.broken_metrics = {"red"}
    same = {"image": inline(TARGET), "item_id": "same"}
    rows = [pair(n, item_id=f"{n % 5}", system=f"s{n % 3}", group=f"g{n % 2}") for n in range(30)]
    settings = pb.EvaluationSettings(metrics=["pixels", "red", "blue"])
    name = await create(gateway, jsonl([*rows, pair(0, **same), {"item_id": "bad"}]), settings)
    await watched(gateway, name)
    results = gateway.server.evaluations.service._results
    pages: list[int] = []
    found: list[ItemValues] = []
    async with results.values(DEFAULT_TENANT, name.removeprefix("evaluations/")) as values:
        assert values.evaluation.done_count == 32
        assert await values.systems() == Systems(("", "s0", "s1", "s2"), 4)
        assert await values.has_system("s1") and not await values.has_system("s3")
        async for page in values.pages():
            pages.append(len(page))
            found += page
            # What happens meanwhile is another report's.
            await gateway.execute("DELETE FROM evaluation_items")
    # Never all of them at once, however many there are.
    assert sum(pages) == 32 and max(pages) == 7
    names = [(one.group, one.item_id) for one in found]
    assert names == sorted(names)
    by_name = {one.item_id: one.values.keys() for one in found}
    # A metric that failed, a value that is not finite, and an item that failed have none.
    assert by_name["bad"] == set() and by_name["same"] == {"pixels"} and by_name["1"] == {"pixels", "blue"}
