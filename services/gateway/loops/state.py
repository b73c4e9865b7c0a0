"""What a running session's next step depends on. Everything here is stored."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway import domain
from services.gateway.history import History

HUMAN = "human"
"""Strategy name of a round that a person's prompt started: one round, no refiner."""


@dataclass(frozen=True)
class Lease:
    """Right to run a session, until somebody claims it with a higher token."""

    session_id: str
    token: int


@dataclass(frozen=True)
class RunState:
    """A session in the middle of a run.

    Attributes:
        history: Session and rounds, as stored.
        loop: Settings of this run; a submitted prompt is a run of one round with strategy "human".
        first_round: Number of the run's first round.
        next_prompt: Prompt that the next automatic round starts from; empty means the best so far.
        feedback: Feedback of the unfinished last round, stored before the prompt is revised by it.
        restart_round: Unfinished rounds before this one are left as they are: a person took over in the middle.
        seconds_spent: Seconds that the run has run, by the database's clock, at the latest read or write.
        pause_requested: Whether a person wants to take over.
    """

    history: History
    loop: domain.LoopSettings
    first_round: int
    next_prompt: str = ""
    feedback: domain.Feedback | None = None
    restart_round: int = 1
    seconds_spent: float = 0.0
    pause_requested: bool = False

    @property
    def session(self) -> domain.Session:
        """The session."""
        return self.history.session

    @property
    def all_rounds(self) -> tuple[domain.Round, ...]:
        """Rounds of this run, without those of a person in between."""
        return tuple(
            one for one in self.history.rounds if one.number >= self.first_round and one.strategy == self.loop.strategy
        )

    @property
    def rounds(self) -> tuple[domain.Round, ...]:
        """Rounds of this run without those left unfinished."""
        return tuple(one for one in self.all_rounds if one.finished or one.number >= self.restart_round)
