"""The table as plain arithmetic, against scipy and by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from services.gateway.domain import ImageInfo, ItemError, LoopSettings, SessionSettings, StopReason
from services.gateway.races.model import Entrant, Entry, EntryState, Judgement, Race, RaceTarget, RoundBest
from services.gateway.races.table import table_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
INFO = ImageInfo("a" * 64, "b" * 64, "image/png", 16, 8, 123)


def race(entrants: int = 2, targets: int = 12, metrics: tuple[str, ...] = ("m",)) -> Race:
    """A race whose entrants are called e0, e1 ..."""
    settings, loop = SessionSettings(metrics, metrics, "g"), LoopSettings("s", 3, 2, 6)
    return Race(
        id="r",
        display_name="",
        targets=(RaceTarget(INFO),) * targets,
        entrants=tuple(Entrant(f"e{number}", settings, loop) for number in range(entrants)),
        metrics=metrics,
        seed=0,
        create_time=NOW,
    )


def best(value: float | None, loop_score: float | None = None, raw: float | None = None) -> RoundBest:
    """The best of a round; its loop score is the value if nothing else is said."""
    judged = {} if value is None else {"m": Judgement(value if raw is None else raw, value)}
    return RoundBest("c", "h", loop_score if loop_score is not None else value or 0.0, judged)


def entry(
    target: int, entrant: int, *rounds: RoundBest, state: EntryState = EntryState.SUCCEEDED, **more: object
) -> Entry:
    """A finished entry unless something else is said."""
    more = {"stop_reason": StopReason.ROUNDS_DONE, "image_count": 6, "seconds": 10.0 + target} | more
    return Entry(target, entrant, f"s{target}-{entrant}", state, rounds=rounds, **more)  # type: ignore[arg-type]


def test_means_and_tests_are_those_of_scipy() -> None:
    generator = np.random.default_rng(5)
    values = generator.uniform(0.2, 0.9, (2, 12))
    entries = [entry(target, number, best(values[number, target])) for number in range(2) for target in range(12)]
    table = table_of(race(), entries)
    for row, of_row in zip(table.rows, values, strict=True):
        mean = row.curves[0].rounds[0]
        assert mean is not None and mean.n == 12
        low, high = stats.t.interval(0.95, 11, of_row.mean(), stats.sem(of_row))
        assert (mean.mean, mean.low, mean.high) == pytest.approx((of_row.mean(), low, high))
    found = table.duels[0].comparison
    assert found is not None
    reference = stats.ttest_rel(values[0], values[1])
    interval = reference.confidence_interval(0.95)
    assert found.t_p == pytest.approx(reference.pvalue)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(values[0], values[1]).pvalue)
    assert (found.wins, found.losses) == (int((values[0] > values[1]).sum()), int((values[0] < values[1]).sum()))


def test_the_best_is_the_entrants_own_choice_and_never_the_judges() -> None:
    # The second round looked better to the entrant (.9) than to the judge (.1), and stays its choice.
    (row, _) = table_of(race(targets=1), [entry(0, 0, best(0.5, 0.4), best(0.1, 0.9), best(0.8, 0.7))]).rows
    assert [mean.mean for mean in row.curves[0].rounds if mean] == [0.5, 0.1, 0.1]


def test_equal_loop_scores_keep_the_older() -> None:
    (row, _) = table_of(race(targets=1), [entry(0, 0, best(0.5, 0.4), best(0.1, 0.4))]).rows
    assert [mean.mean for mean in row.curves[0].rounds if mean] == [0.5, 0.5]


def test_a_loop_that_stopped_early_keeps_its_last_value() -> None:
    entries = [entry(0, 0, best(0.2), best(0.4)), entry(1, 0, best(0.8), stop_reason=StopReason.TARGET_REACHED)]
    (row, _) = table_of(race(targets=2), entries).rows
    assert [mean.mean for mean in row.curves[0].rounds if mean] == pytest.approx([0.5, 0.6])
    assert row.stops == ((StopReason.ROUNDS_DONE, 1), (StopReason.TARGET_REACHED, 1))


def test_only_what_both_finished_is_paired() -> None:
    failed = ItemError("GENERATION_FAILED", "no paint")
    entries = [
        entry(0, 0, best(0.9)),
        entry(0, 1, best(0.5)),
        entry(1, 0, best(0.9)),
        entry(1, 1, best(0.1), state=EntryState.FAILED, error=failed, stop_reason=StopReason.FAILED),
        entry(2, 0, best(0.9), state=EntryState.CANCELLED),
        entry(2, 1, best(0.1)),
        entry(3, 0, state=EntryState.DELETED),
        entry(3, 1, best(0.3), state=EntryState.RUNNING),
    ]
    table = table_of(race(targets=4), entries)
    found = table.duels[0].comparison
    assert found is not None and found.difference.n == found.wins == 1 and found.t_p is None
    assert [row.curves[0].rounds[-1].n for row in table.rows if row.curves[0].rounds[-1]] == [2, 2]
    assert table.rows[1].failures == (("GENERATION_FAILED", 1),)
    assert table.rows[0].seconds is not None and table.rows[0].seconds.mean == 10.5


def test_a_tie_is_a_difference_of_at_most_a_thousandth() -> None:
    values = [(0.5, 0.4995), (0.5, 0.5), (0.5, 0.498), (0.5, 0.502)]
    entries = [entry(t, e, best(v)) for t, pair in enumerate(values) for e, v in enumerate(pair)]
    found = table_of(race(targets=4), entries).duels[0].comparison
    assert found is not None and (found.wins, found.ties, found.losses) == (1, 2, 1)


def test_equal_entrants_have_no_p() -> None:
    entries = [entry(target, number, best(0.5)) for target in range(3) for number in range(2)]
    found = table_of(race(targets=3), entries).duels[0].comparison
    assert found is not None and found.t_p is None and found.wilcoxon_p is None and found.ties == 3


def test_a_metric_that_failed_leaves_its_target_out() -> None:
    entries = [entry(0, 0, best(None, 0.5)), entry(1, 0, best(0.4)), entry(0, 1, best(0.1)), entry(1, 1, best(0.2))]
    table = table_of(race(targets=2), entries)
    assert [mean.n for row in table.rows for mean in row.curves[0].rounds if mean] == [1, 2]
    assert table.duels[0].comparison is not None and table.duels[0].comparison.difference.n == 1
    only = table_of(race(targets=1), [entry(0, 0, best(None, 0.5), best(0.7, 0.6))]).rows[0].curves[0]
    assert only.rounds[0] is None and only.rounds[1] is not None and only.rounds[1].mean == 0.7


def test_own_units_are_left_out_if_they_are_not_finite() -> None:
    entries = [entry(0, 0, best(0.5, raw=30.0)), entry(1, 0, best(1.0, raw=float("inf")))]
    assert table_of(race(targets=2), entries[:1]).rows[0].curves[0].raw_mean == 30.0
    assert table_of(race(targets=2), entries).rows[0].curves[0].raw_mean is None


def test_every_pair_meets_under_every_metric() -> None:
    table = table_of(race(entrants=3, metrics=("m", "n")), [])
    assert [(one.metric, one.first, one.second) for one in table.duels] == [
        (metric, first, second) for metric in ("m", "n") for first, second in (("e0", "e1"), ("e0", "e2"), ("e1", "e2"))
    ]
    assert all(one.comparison is None for one in table.duels)
    assert all(row.images is None and row.seconds is None and not row.curves[0].rounds for row in table.rows)
