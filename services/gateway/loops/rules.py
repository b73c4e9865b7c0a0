"""Rules of the loop as plain functions: loop score, best of a round, gain, when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.gateway.domain import Aspect, Candidate, LoopSettings, PromptAttempt, Round, Score, StopReason
from services.gateway.history import better
from services.gateway.loops.state import HUMAN, RunState

_ASPECTS = (Aspect.OVERALL, Aspect.STYLE, Aspect.COLOR, Aspect.DETAIL)


@dataclass(frozen=True)
class Spent:
    """What a run has used up of its budgets."""

    images: int
    seconds: float


def aspect_of(turn: int) -> Aspect:
    """What the run's round number `turn` (from 1) looks at: ImageRepainter's order, over and over."""
    return _ASPECTS[(turn - 1) % len(_ASPECTS)]


def loop_score(scores: Sequence[Score], selection_metrics: Sequence[str]) -> float | None:
    """Mean normalized value of the selection metrics, 0..1; None if one of them failed or is not a number."""
    by_metric = {one.metric: one for one in scores}
    values = []
    for metric in selection_metrics:
        score = by_metric.get(metric)
        if score is None or score.error is not None or not math.isfinite(score.normalized):
            return None
        values.append(score.normalized)
    return math.fsum(values) / len(values)


def best_of(candidates: Sequence[Candidate]) -> Candidate | None:
    """Best of some candidates by loop score; the first of equals."""
    best: Candidate | None = None
    for one in candidates:
        best = better(best, one)
    return best


def with_result(state: RunState, current: Round) -> Round:
    """The round with its best candidate and its gain over everything before it, finished."""
    best = best_of(current.candidates)
    # Not only earlier numbers: a person's rounds may have come while this one stood still.
    others = [each for each in state.history.rounds if each.number != current.number]
    before = best_of([one for each in others for one in each.candidates])
    gain = None
    if best is not None and before is not None:
        gain = (best.loop_score or 0.0) - (before.loop_score or 0.0)
    return replace(current, best_candidate_id=best.id if best else "", gain=gain, finished=True)


def attempts(rounds: Sequence[Round]) -> list[PromptAttempt]:
    """Prompts tried so far with their loop scores, oldest first."""
    return [
        PromptAttempt(one.prompt, one.round_number, one.loop_score)
        for each in rounds
        for one in each.candidates
        if one.loop_score is not None
    ]


def images_made(rounds: Sequence[Round]) -> int:
    """Pictures that rounds have made."""
    return sum(one.image is not None for each in rounds for one in each.candidates)


def spent(state: RunState) -> Spent:
    """What the run has used up, rounds that were left unfinished included."""
    return Spent(images_made(state.all_rounds), state.seconds_spent)


def is_spent(loop: LoopSettings, used: Spent) -> bool:
    """Whether a budget leaves nothing for another round."""
    return used.images >= loop.image_budget or (loop.seconds_budget is not None and used.seconds >= loop.seconds_budget)


def stop_reason(
    loop: LoopSettings, rounds: Sequence[Round], best: Candidate | None, used: Spent, *, restart_round: int = 1
) -> StopReason | None:
    """Why a loop stops after its latest round; None if another round follows.

    Args:
        loop: Settings of the run.
        rounds: Rounds of the run, all with results.
        best: Best candidate of the session.
        used: What the run has used up.
        restart_round: A plateau counts rounds from this one on: a person said how to go on.
    """
    if loop.strategy == HUMAN:
        return StopReason.ROUNDS_DONE
    if loop.target_score is not None and best is not None and (best.loop_score or 0.0) >= loop.target_score:
        return StopReason.TARGET_REACHED
    if len(rounds) >= loop.rounds:
        return StopReason.ROUNDS_DONE
    if loop.plateau_rounds is not None:
        latest = [one for one in rounds if one.number >= restart_round][-loop.plateau_rounds :]
        flat = [one for one in latest if one.gain is not None and one.gain < loop.plateau_gain]
        if len(flat) == loop.plateau_rounds:
            return StopReason.PLATEAU
    return StopReason.BUDGET_SPENT if is_spent(loop, used) else None
