"""What happens to sessions. Durable events are stored with a sequence; CandidateProgress is live only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from services.gateway.domain.scores import ItemError
from services.gateway.domain.sessions import Candidate, PausedLoop, Ranking, Round, SessionState, StopReason
from services.gateway.domain.understanding import Feedback, Tree


@dataclass(frozen=True)
class StateChanged:
    """The session's state changed."""

    state: SessionState
    stop_reason: StopReason | None = None
    error: ItemError | None = None
    paused: PausedLoop | None = None


@dataclass(frozen=True)
class TargetUnderstood:
    """A strategy described the target."""

    tree: Tree
    prompt: str


@dataclass(frozen=True)
class RoundStarted:
    """A round began; its candidates have prompts only."""

    round: Round


@dataclass(frozen=True)
class CandidateProgress:
    """A denoising step was done; both numbers 0 while queued."""

    candidate_id: str
    step: int
    total_steps: int


@dataclass(frozen=True)
class CandidateGenerated:
    """A picture is stored."""

    candidate: Candidate


@dataclass(frozen=True)
class CandidateScored:
    """Scores are stored."""

    candidate: Candidate


@dataclass(frozen=True)
class CandidateFailed:
    """A candidate failed."""

    candidate: Candidate


@dataclass(frozen=True)
class RoundFinished:
    """A round is done."""

    round: Round


@dataclass(frozen=True)
class FeedbackGiven:
    """A person gave feedback."""

    feedback: Feedback
    revised_prompt: str


@dataclass(frozen=True)
class CandidatesRanked:
    """A person ranked candidates."""

    ranking: Ranking


EventBody = (
    StateChanged
    | TargetUnderstood
    | RoundStarted
    | CandidateProgress
    | CandidateGenerated
    | CandidateScored
    | CandidateFailed
    | RoundFinished
    | FeedbackGiven
    | CandidatesRanked
)


@dataclass(frozen=True)
class SessionEvent:
    """An event of a session; sequence 0 marks a live event."""

    session_id: str
    sequence: int
    create_time: datetime
    body: EventBody = field(repr=False)
