"""Events of a session. Durable ones have a sequence to resume from; live ones (progress) are never replayed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from likeness._types import (
    Candidate,
    Feedback,
    ItemError,
    PausedLoop,
    Ranking,
    Round,
    Session,
    SessionState,
    StopReason,
    UnderstandingTree,
)


@dataclass(frozen=True)
class SessionSnapshot:
    """The session with its rounds as it was at the cursor; first event of every watch.

    It comes again where the server no longer keeps the events that a watch would have to go on with.
    """

    session: Session
    rounds: tuple[Round, ...]


@dataclass(frozen=True)
class StateChanged:
    """The session's state changed; `paused_loop` is the loop that stands still, if one does."""

    state: SessionState
    stop_reason: StopReason | None = None
    error: ItemError | None = None
    paused_loop: PausedLoop | None = None


@dataclass(frozen=True)
class TargetUnderstood:
    """The target was described; `prompt` is the first prompt."""

    tree: UnderstandingTree
    prompt: str


@dataclass(frozen=True)
class RoundStarted:
    """A round began; its candidates have prompts only."""

    round: Round


@dataclass(frozen=True)
class CandidateProgress:
    """A denoising step was done (live); both numbers are 0 while queued."""

    candidate_id: str
    step: int
    total_steps: int


@dataclass(frozen=True)
class CandidateGenerated:
    """A candidate's picture is stored."""

    candidate: Candidate


@dataclass(frozen=True)
class CandidateScored:
    """A candidate's scores are stored."""

    candidate: Candidate


@dataclass(frozen=True)
class CandidateFailed:
    """A candidate failed; its error says why."""

    candidate: Candidate


@dataclass(frozen=True)
class RoundFinished:
    """A round is done."""

    round: Round


@dataclass(frozen=True)
class FeedbackGiven:
    """A person gave feedback; `revised_prompt` is empty if no prompt was there to revise."""

    feedback: Feedback
    revised_prompt: str = ""


@dataclass(frozen=True)
class CandidatesRanked:
    """A person ranked candidates."""

    ranking: Ranking


EventBody = (
    SessionSnapshot
    | StateChanged
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
class Event:
    """Something that happened in a session.

    Attributes:
        sequence: Position in the session's log, from 1, without gaps; 0 for a live event.
        cursor: Give this to `watch` to go on after this event.
        body: What happened: one of the classes of this module.
    """

    sequence: int
    cursor: str
    create_time: datetime
    body: EventBody

    @property
    def kind(self) -> str:
        """Name of what happened, such as "round_started"."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self.body).__name__).lower()
