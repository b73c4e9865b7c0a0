"""What an operator sees of running loops: metrics and spans of rounds and steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from services.common import tracing
from services.common.telemetry import histogram
from services.gateway.domain import Candidate, Round
from services.gateway.loops import plan
from services.gateway.loops.state import HUMAN, RunState

LAST_ROUND = 10
"""Later rounds are counted as this one: labels must not grow with what callers ask for."""

_step_seconds = histogram("likeness_gateway_loop_step_seconds", "Time of one step of a run, by step.", ("step",))
_gain = histogram(
    "likeness_gateway_round_gain",
    "What a round of a loop added to the best loop score so far, 0..1; round 10 stands for all later ones too.",
    ("strategy", "round"),
    buckets=(0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
)
_best = histogram(
    "likeness_gateway_round_best_score",
    "Best loop score after a round of a loop, 0..1; round 10 stands for all later ones too.",
    ("strategy", "round"),
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
)
_NAMES: dict[type[plan.Step], str] = {
    plan.Understand: "understand",
    plan.Propose: "propose",
    plan.Generate: "generate",
    plan.ScoreCandidates: "score",
    plan.Critique: "critique",
    plan.Revise: "revise",
    plan.FinishRound: "finish",
}


class Observed:
    """The steps of one run, under the span of their round."""

    def __init__(self) -> None:
        self._round = tracing.Span()
        self._number = 0

    @contextmanager
    def step(self, state: RunState, step: plan.Step) -> Iterator[None]:
        """A step of the run for as long as the block runs; `state` is what it begins with."""
        name = _NAMES[type(step)]
        self._turn_to(step.number if isinstance(step, plan.Propose) else state.session.round_count)
        began = time.perf_counter()
        try:
            with tracing.span(name, parent=self._round or None):
                yield
        finally:
            _step_seconds.labels(name).observe(time.perf_counter() - began)

    def stored(self, before: RunState, step: plan.Step, best: Candidate | None) -> None:
        """Notes the gain of a round that has been finished and stored; `best` is the session's since then."""
        if isinstance(step, plan.FinishRound | plan.Revise) and before.loop.strategy != HUMAN and best is not None:
            self._note(before, step.finished, best.loop_score or 0.0)

    def close(self) -> None:
        """Ends the last round's span."""
        self._round.end()

    def _turn_to(self, number: int) -> None:
        if number == self._number:
            return
        self._round.end()
        self._number = number
        self._round = tracing.begin("round", attributes={"likeness.round": number})

    def _note(self, state: RunState, finished: Round, best: float) -> None:
        labels = state.loop.strategy, str(min(len(state.rounds), LAST_ROUND))
        _best.labels(*labels).observe(best)
        if finished.gain is not None:
            # A round that made nothing better added nothing.
            _gain.labels(*labels).observe(max(finished.gain, 0.0))
            self._round.set(gain=finished.gain)
        self._round.set(best_score=best)
