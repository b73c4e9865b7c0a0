"""Words of races: targets, entrants, entries (one entrant on one target) and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.domain import ImageInfo, ItemError, LoopSettings, SessionSettings, StopReason

TIE_EPSILON = 0.001
"""Largest difference of normalized values that counts as a tie: the smallest gain that counts for a loop."""


class RaceState(StrEnum):
    """What a race is doing."""

    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class EntryState(StrEnum):
    """What became of one entrant on one target."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DELETED = "deleted"


@dataclass(frozen=True)
class RaceTarget:
    """A target and its name for people."""

    image: ImageInfo
    display_name: str = ""


@dataclass(frozen=True)
class Entrant:
    """Who races, defaults filled in. `settings.metrics` are the race's and those that it selects by."""

    display_name: str
    settings: SessionSettings
    loop: LoopSettings


@dataclass(frozen=True)
class Progress:
    """How far an entrant is: its targets by state, and what was done over all of them."""

    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    deleted: int = 0
    finished_rounds: int = 0
    images: int = 0


@dataclass(frozen=True)
class Race:
    """A race as stored. The sessions of target i, from 0, have seed + i (modulo 2^64) for every entrant.

    Attributes:
        metrics: Metrics that judge every entrant alike.
        cancel_requested: Whether CancelRace was called.
        progress: One for each entrant, in order.
        end_time: When its last session ended; None while it runs.
    """

    id: str
    display_name: str
    targets: tuple[RaceTarget, ...]
    entrants: tuple[Entrant, ...]
    metrics: tuple[str, ...]
    seed: int
    create_time: datetime
    progress: tuple[Progress, ...] = ()
    cancel_requested: bool = False
    end_time: datetime | None = None
    tenant_id: str = DEFAULT_TENANT

    @property
    def state(self) -> RaceState:
        """What it is doing."""
        if self.end_time is None:
            return RaceState.RUNNING
        return RaceState.CANCELLED if self.cancel_requested else RaceState.FINISHED

    def seed_of(self, target_index: int) -> int:
        """Seed of a target's sessions."""
        return (self.seed + target_index) % 2**64


@dataclass(frozen=True)
class Judgement:
    """What a metric says of a picture; `normalized` is 0..1 with 1 best."""

    raw: float
    normalized: float


@dataclass(frozen=True)
class RoundBest:
    """The best candidate of a finished round by the entrant's own selection; metrics that failed on it are left out."""

    candidate_id: str
    content_hash: str
    loop_score: float
    judgements: Mapping[str, Judgement]


@dataclass(frozen=True)
class Entry:
    """One entrant on one target.

    Attributes:
        session_id: Empty once the session is deleted.
        image_count: Pictures made.
        seconds: From the moment a gateway began to work on it to its end; None before the end, and without a beginning.
        rounds: Rounds finished, in order.
    """

    target_index: int
    entrant_index: int
    session_id: str
    state: EntryState
    stop_reason: StopReason | None = None
    error: ItemError | None = None
    image_count: int = 0
    seconds: float | None = None
    rounds: tuple[RoundBest, ...] = ()

    def best_by_round(self) -> tuple[RoundBest, ...]:
        """Element i is the best of rounds 1 to i + 1; a tie keeps the older, as the loop does."""
        found: list[RoundBest] = []
        for one in self.rounds:
            found.append(one if not found or one.loop_score > found[-1].loop_score else found[-1])
        return tuple(found)

    @property
    def best(self) -> RoundBest | None:
        """The best of all rounds."""
        return self.best_by_round()[-1] if self.rounds else None
