"""Loop score, best candidate, gain and stop rules."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.gateway.domain import (
    Aspect,
    Candidate,
    ImageInfo,
    ItemError,
    LoopSettings,
    Round,
    Score,
    StopReason,
)
from services.gateway.loops import rules
from services.gateway.loops.state import HUMAN

LOOP = LoopSettings("repainter", rounds=4, candidates=2, image_budget=8)
INFO = ImageInfo("a" * 64, "b" * 64, "image/png", 16, 16, 10)


def score(metric: str, normalized: float, error: ItemError | None = None) -> Score:
    """A score."""
    return Score(metric, "1", normalized, normalized, True, error=error)


def candidate(name: str, loop_score: float | None, number: int = 1) -> Candidate:
    """A candidate with a picture."""
    return Candidate(name, number, "p", "tree", 1, image=INFO, loop_score=loop_score)


def finished(number: int, gain: float | None, *scores: float) -> Round:
    """A finished round."""
    members = tuple(candidate(f"r{number}c{i}", one, number) for i, one in enumerate(scores, start=1))
    return Round(number, "repainter", Aspect.STYLE, "p", members, datetime.now(UTC), gain=gain, finished=True)


def test_aspects_come_round_and_round() -> None:
    expected = [Aspect.OVERALL, Aspect.STYLE, Aspect.COLOR, Aspect.DETAIL, Aspect.OVERALL]
    assert [rules.aspect_of(turn) for turn in range(1, 6)] == expected


def test_loop_score_is_the_mean_of_the_selection_metrics_alone() -> None:
    scores = [score("a", 0.2), score("b", 0.6), score("c", 1.0)]
    assert rules.loop_score(scores, ["a", "b"]) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "bad", [score("a", math.nan), score("a", math.inf), score("a", 0.0, ItemError("INTERNAL", "x")), score("z", 1.0)]
)
def test_loop_score_of_less_than_all_is_none(bad: Score) -> None:
    assert rules.loop_score([bad, score("b", 0.6)], ["a", "b"]) is None


def test_tie_keeps_the_older() -> None:
    best = rules.best_of([candidate("a", 0.5), candidate("b", 0.5), candidate("c", None)])
    assert best is not None and best.id == "a"
    zero = rules.best_of([candidate("a", 0.0), candidate("b", 0.0)])
    assert zero is not None and zero.id == "a"
    assert rules.best_of([candidate("a", None)]) is None


@pytest.mark.parametrize(
    ("loop", "gains", "best", "expected"),
    [
        (LOOP, [None, 0.1], 0.5, None),
        (LOOP, [None, 0.1, 0.1, 0.1], 0.5, StopReason.ROUNDS_DONE),
        (replace(LOOP, target_score=0.5), [None], 0.5, StopReason.TARGET_REACHED),
        (replace(LOOP, target_score=0.5), [None], 0.49, None),
        # The target counts even in the last round.
        (replace(LOOP, target_score=0.5, rounds=1), [None], 0.6, StopReason.TARGET_REACHED),
        (replace(LOOP, plateau_rounds=2), [None, 0.0005, -0.2], 0.5, StopReason.PLATEAU),
        (replace(LOOP, plateau_rounds=2), [None, 0.0005, 0.001], 0.5, None),
        (replace(LOOP, plateau_rounds=2), [None, 0.0], 0.5, None),
        (replace(LOOP, plateau_rounds=1, plateau_gain=0.2), [None, 0.1], 0.5, StopReason.PLATEAU),
        (replace(LOOP, image_budget=4), [None, 0.1], 0.5, StopReason.BUDGET_SPENT),
        (replace(LOOP, image_budget=5), [None, 0.1], 0.5, None),
        (replace(LOOP, seconds_budget=10.0), [None, 0.1], 0.5, StopReason.BUDGET_SPENT),
        (replace(LOOP, seconds_budget=10.1), [None, 0.1], 0.5, None),
        # What was reached says more than what was spent.
        (replace(LOOP, seconds_budget=1.0, target_score=0.5), [None], 0.5, StopReason.TARGET_REACHED),
        (replace(LOOP, strategy=HUMAN), [None], 0.5, StopReason.ROUNDS_DONE),
    ],
)
def test_stop_rules(loop: LoopSettings, gains: list[float | None], best: float, expected: StopReason | None) -> None:
    rounds = [finished(number, gain, 0.1, 0.2) for number, gain in enumerate(gains, start=1)]
    used = rules.Spent(rules.images_made(rounds), 10.0)
    assert rules.stop_reason(loop, rounds, candidate("best", best), used) is expected


def test_plateau_begins_anew_where_a_person_said_how_to_go_on() -> None:
    loop = replace(LOOP, plateau_rounds=2, rounds=9, image_budget=99)
    rounds = [finished(number, 0.0, 0.1) for number in (1, 2, 4)]
    used = rules.Spent(3, 1.0)
    assert rules.stop_reason(loop, rounds, candidate("best", 0.1), used) is StopReason.PLATEAU
    assert rules.stop_reason(loop, rounds, candidate("best", 0.1), used, restart_round=4) is None
    more = [*rounds, finished(5, 0.0, 0.1)]
    assert rules.stop_reason(loop, more, candidate("best", 0.1), used, restart_round=4) is StopReason.PLATEAU


def test_pictures_that_failed_cost_no_budget() -> None:
    failed = replace(candidate("f", None), image=None, error=ItemError("GENERATION_FAILED", "x"))
    one = replace(finished(1, None, 0.1), candidates=(candidate("a", 0.1), failed))
    assert rules.images_made([one]) == 1
