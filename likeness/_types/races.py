"""Races: the same targets through several entrants, and who did how well. Values are 0..1, 1 is best; times are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from likeness._types.images import ImageInfo
from likeness._types.scores import ItemError
from likeness._types.sessions import LoopSettings, StopReason


class RaceState(StrEnum):
    """What a race is doing. UNKNOWN stands for a state that a newer server may send."""

    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class RaceEntryState(StrEnum):
    """What became of an entrant on a target. UNKNOWN as in `RaceState`."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DELETED = "deleted"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RaceTarget:
    """A target and its name for people."""

    image: ImageInfo
    display_name: str = ""


@dataclass(frozen=True)
class RaceEntrant:
    """Who races, defaults filled in.

    Attributes:
        loop: How its loops run.
        selection_metrics: Metrics whose mean normalized value selects its best pictures.
    """

    display_name: str
    loop: LoopSettings
    selection_metrics: tuple[str, ...] = ()
    generator_model: str = ""
    steps: int | None = None
    guidance_scale: float | None = None


@dataclass(frozen=True)
class RaceProgress:
    """How far an entrant is. The first five numbers add up to the number of targets.

    Attributes:
        running: Targets whose sessions wait or run.
        deleted: Targets whose session was deleted, so that nothing is known of it any more.
        finished_rounds: Rounds over all targets, as are the pictures.
        max_images: Most pictures that it may make.
    """

    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    deleted: int = 0
    finished_rounds: int = 0
    images: int = 0
    max_images: int = 0


@dataclass(frozen=True)
class Race:
    """A race. `name` is "races/{race}".

    Attributes:
        metrics: Metrics that judge every entrant alike.
        seed: The sessions of target i, from 0, have seed + i for every entrant.
        progress: One for each entrant, in order.
        end_time: When its last session ended; None while it runs.
    """

    name: str
    display_name: str
    targets: tuple[RaceTarget, ...]
    entrants: tuple[RaceEntrant, ...]
    metrics: tuple[str, ...]
    seed: int
    state: RaceState
    progress: tuple[RaceProgress, ...]
    create_time: datetime
    end_time: datetime | None = None

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class RaceMean:
    """A mean over targets with its 95 % confidence interval, whose ends are None for a single target."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class RaceCurve:
    """What a metric says of an entrant's best picture after each round.

    Attributes:
        rounds: Element i is the mean over targets of the best picture of rounds 1 to i + 1, by the entrant's own
            selection; a loop that stopped before keeps its last value. None where the metric failed on all of them.
        raw_mean: Mean in the metric's own units after the last round; None if it is not finite.
    """

    metric: str
    rounds: tuple[RaceMean | None, ...]
    raw_mean: float | None = None

    @property
    def final(self) -> RaceMean | None:
        """After the last round."""
        return self.rounds[-1] if self.rounds else None


@dataclass(frozen=True)
class RaceEntrantRow:
    """How an entrant did on the targets that it finished; `progress` counts the others.

    Attributes:
        images: Pictures a finished target.
        seconds: Seconds a finished target, from the moment a gateway began to work on it: describing the target,
            prompts, pictures, scores, feedback and waiting for backends that others use too.
        stops: Why its loops stopped and how often, the most frequent first.
        failures: Why its loops failed and how often.
    """

    entrant: str
    progress: RaceProgress
    curves: tuple[RaceCurve, ...]
    images: RaceMean | None
    seconds: RaceMean | None
    stops: tuple[tuple[StopReason, int], ...] = ()
    failures: tuple[tuple[str, int], ...] = ()

    def curve(self, metric: str) -> RaceCurve | None:
        """The curve of a metric."""
        return next((one for one in self.curves if one.metric == metric), None)


@dataclass(frozen=True)
class RaceDuel:
    """First entrant minus second after the last round, over the targets that both finished.

    Attributes:
        difference: Mean difference; None without a common target. Its count is the number of pairs.
        t_test_p: Two-sided p of the paired t-test; None for fewer than two pairs or equal differences.
        wilcoxon_p: Two-sided p of Wilcoxon's signed-rank test; None if every difference is 0.
        wins: Targets on which the first is better by more than the table's `tie_epsilon`.
    """

    metric: str
    first: str
    second: str
    difference: RaceMean | None
    t_test_p: float | None
    wilcoxon_p: float | None
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class RaceTable:
    """A row for each entrant, and every pair of them under every metric; p is not corrected for the number of tests."""

    rows: tuple[RaceEntrantRow, ...]
    duels: tuple[RaceDuel, ...]
    tie_epsilon: float


@dataclass(frozen=True)
class RaceScore:
    """What a metric says of a picture, in its own units and normalized."""

    metric: str
    raw: float
    normalized: float


@dataclass(frozen=True)
class RaceEntry:
    """One entrant on one target; indexes are from 0.

    Attributes:
        session: Name of its session; "" once that is deleted.
        seconds: As `RaceEntrantRow.seconds`; None before the end.
        best_content_hash: Picture of the best candidate by the entrant's own selection; "" before there is one.
        scores: What the race's metrics say of that candidate; one that failed on it is left out.
    """

    target_index: int
    entrant_index: int
    session: str
    state: RaceEntryState
    stop_reason: StopReason | None = None
    error: ItemError | None = None
    rounds: int = 0
    images: int = 0
    seconds: float | None = None
    best_candidate_id: str = ""
    best_content_hash: str = ""
    scores: tuple[RaceScore, ...] = ()


@dataclass(frozen=True)
class RaceUpdate:
    """A race as it is now, with the table of what has ended so far."""

    race: Race
    table: RaceTable


@dataclass(frozen=True)
class RaceDetails:
    """A race with its table and its entries, target by target."""

    race: Race
    table: RaceTable
    entries: tuple[RaceEntry, ...]

    def entry(self, target_index: int, entrant_index: int) -> RaceEntry | None:
        """One entrant on one target."""
        places = ((one.target_index, one.entrant_index) for one in self.entries)
        return dict(zip(places, self.entries, strict=True)).get((target_index, entrant_index))
