"""What a run does next, decided from what is stored and nothing else: that is why it can be resumed anywhere.

Understand -> for each round: Propose -> Generate -> Score -> Critique -> Revise -> ... until Stop; Pause between rounds
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.gateway import domain
from services.gateway.loops import rules
from services.gateway.loops.state import HUMAN, RunState


@dataclass(frozen=True)
class Understand:
    """Describe the target."""


@dataclass(frozen=True)
class Propose:
    """Write the prompts of a new round."""

    number: int
    aspect: domain.Aspect | None
    base_prompt: str
    count: int


@dataclass(frozen=True)
class Generate:
    """Make the pictures that are still missing."""

    candidates: tuple[domain.Candidate, ...]


@dataclass(frozen=True)
class ScoreCandidates:
    """Score the pictures that have no scores yet."""

    candidates: tuple[domain.Candidate, ...]


@dataclass(frozen=True)
class Critique:
    """Compare the best so far with the target in the aspect of the next round."""

    number: int
    aspect: domain.Aspect
    best: domain.Candidate


@dataclass(frozen=True)
class Revise:
    """Revise the best prompt by the feedback, and finish the round."""

    finished: domain.Round
    prompt: str
    feedback: domain.Feedback


@dataclass(frozen=True)
class FinishRound:
    """Finish the last round of the run."""

    finished: domain.Round


@dataclass(frozen=True)
class Pause:
    """A person takes over."""


@dataclass(frozen=True)
class Stop:
    """The run is over."""

    state: domain.SessionState
    reason: domain.StopReason | None
    error: domain.ItemError | None = None


Step = Understand | Propose | Generate | ScoreCandidates | Critique | Revise | FinishRound | Pause | Stop


def next_step(state: RunState) -> Step:
    """The step that follows what is stored."""
    rounds = state.rounds
    if rounds and not rounds[-1].finished:
        return _within_round(state, rounds[-1])
    reason = _stop_reason(state, rounds)
    if reason is None and state.pause_requested:
        return Pause()
    if reason is None and state.loop.strategy != HUMAN and state.session.tree is None:
        return Understand()
    if reason is None:
        return _propose(state)
    if state.loop.strategy == HUMAN:
        return Stop(domain.SessionState.WAITING, None)
    return Stop(domain.SessionState.SUCCEEDED, reason)


def _within_round(state: RunState, current: domain.Round) -> Step:
    missing = tuple(one for one in current.candidates if one.image is None and one.error is None)
    if missing:
        return Generate(missing)
    unscored = tuple(one for one in current.candidates if one.image is not None and not one.scores)
    if unscored:
        return ScoreCandidates(unscored)
    finished = rules.with_result(state, current)
    if not finished.best_candidate_id:
        return Stop(domain.SessionState.FAILED, domain.StopReason.FAILED, _first_error(state, current))
    best = state.session.best
    if best is None or _stop_reason(state, (*state.rounds[:-1], finished)) is not None:
        return FinishRound(finished)
    if state.feedback is None:
        return Critique(current.number, rules.aspect_of(len(state.rounds) + 1), best)
    return Revise(finished, best.prompt, state.feedback)


def _stop_reason(state: RunState, rounds: Sequence[domain.Round]) -> domain.StopReason | None:
    used = rules.spent(state)
    if rounds:
        best = state.session.best
        return rules.stop_reason(state.loop, rounds, best, used, restart_round=state.restart_round)
    # Before the first round only a budget ends a run: one that a pause interrupted may have spent it.
    return domain.StopReason.BUDGET_SPENT if rules.is_spent(state.loop, used) else None


def _propose(state: RunState) -> Propose:
    done = state.rounds
    human = state.loop.strategy == HUMAN
    best = state.session.best
    return Propose(
        number=state.session.round_count + 1,
        aspect=None if human else rules.aspect_of(len(done) + 1),
        base_prompt=state.loop.first_prompt if human else state.next_prompt or (best.prompt if best else ""),
        count=min(state.loop.candidates, state.loop.image_budget - rules.spent(state).images),
    )


def _first_error(state: RunState, current: domain.Round) -> domain.ItemError:
    for one in current.candidates:
        if one.error is not None:
            return one.error
    selection = state.session.settings.selection_metrics
    for one in current.candidates:
        for score in one.scores:
            if score.metric in selection and score.error is not None:
                return score.error
    return domain.ItemError("INTERNAL", "no candidate of the round got a loop score")
