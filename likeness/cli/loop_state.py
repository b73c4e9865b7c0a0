"""What a session's events add up to: the rounds as they stand, and the best candidate so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from likeness import (
    Candidate,
    CandidateFailed,
    CandidateGenerated,
    CandidateProgress,
    CandidateScored,
    Event,
    Round,
    RoundFinished,
    RoundStarted,
    SessionSnapshot,
    SessionState,
    StateChanged,
    StopReason,
    TargetUnderstood,
)


@dataclass
class LoopState:
    """Folds events; `apply` one after the other.

    Attributes:
        progress: Denoising steps done and in all, by candidate id; (0, 0) while queued.
        best: Best candidate by loop score over all rounds.
    """

    session: str = ""
    state: SessionState = SessionState.UNKNOWN
    stop_reason: StopReason | None = None
    rounds: dict[int, Round] = field(default_factory=dict)
    progress: dict[str, tuple[int, int]] = field(default_factory=dict)
    best: Candidate | None = None

    def apply(self, event: Event) -> None:
        """Takes in an event."""
        match event.body:
            case SessionSnapshot(session, rounds):
                self.session, self.state = session.name, session.state
                for item in rounds:
                    self._set_round(item)
            case StateChanged(state, stop_reason):
                self.state, self.stop_reason = state, stop_reason
            case RoundStarted(item) | RoundFinished(item):
                self._set_round(item)
            case CandidateProgress(candidate_id, step, total):
                self.progress[candidate_id] = (step, total)
            case CandidateGenerated(candidate) | CandidateScored(candidate) | CandidateFailed(candidate):
                self._set_candidate(candidate)
            case TargetUnderstood() | _:
                pass

    @property
    def round(self) -> Round | None:
        """The newest round."""
        return self.rounds[max(self.rounds)] if self.rounds else None

    def best_before(self, number: int) -> float | None:
        """Best loop score of the rounds before one."""
        scores = [
            candidate.loop_score
            for item in self.rounds.values()
            if item.number < number
            for candidate in item.candidates
            if candidate.loop_score is not None
        ]
        return max(scores, default=None)

    def _set_round(self, item: Round) -> None:
        self.rounds[item.number] = item
        for candidate in item.candidates:
            self._compare(candidate)

    def _set_candidate(self, candidate: Candidate) -> None:
        item = self.rounds.get(candidate.round_number)
        if item is not None:
            candidates = tuple(candidate if old.id == candidate.id else old for old in item.candidates)
            self.rounds[item.number] = replace(item, candidates=candidates)
        self._compare(candidate)

    def _compare(self, candidate: Candidate) -> None:
        if candidate.loop_score is None:
            return
        if self.best is None or self.best.loop_score is None or candidate.loop_score > self.best.loop_score:
            self.best = candidate
