"""Who did how well: plain functions of the entries of a race.

An entrant is judged by the picture that it would hand over: its best by its own selection. Only targets that it
finished enter means and tests; every other one is counted by what became of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from services.common.statistics import MeanInterval, PairedComparison, mean_interval, paired_comparison
from services.gateway.domain import StopReason
from services.gateway.races.model import TIE_EPSILON, Entry, EntryState, Judgement, Race


@dataclass(frozen=True)
class Curve:
    """What a metric says of an entrant's best picture, normalized.

    Attributes:
        rounds: Element i is the mean over targets of the best picture of rounds 1 to i + 1; a loop that stopped before
            keeps its last value. None if the metric failed on all of them.
        raw_mean: Mean in the metric's own units after the last round; None if it is not finite.
    """

    metric: str
    rounds: tuple[MeanInterval | None, ...]
    raw_mean: float | None


@dataclass(frozen=True)
class EntrantRow:
    """How an entrant did. Means are over the targets that it finished, None before the first."""

    entrant: str
    curves: tuple[Curve, ...]
    images: MeanInterval | None
    seconds: MeanInterval | None
    stops: tuple[tuple[StopReason, int], ...]
    failures: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Duel:
    """First minus second by the last value of a metric; None without a target that both finished."""

    metric: str
    first: str
    second: str
    comparison: PairedComparison | None


@dataclass(frozen=True)
class RaceTable:
    """A row for each entrant, and every pair of them under every metric."""

    rows: tuple[EntrantRow, ...]
    duels: tuple[Duel, ...]
    tie_epsilon: float = TIE_EPSILON


def table_of(race: Race, entries: Sequence[Entry]) -> RaceTable:
    """The table of what has ended so far."""
    by_entrant = [[one for one in entries if one.entrant_index == index] for index in range(len(race.entrants))]
    rows = tuple(
        _row(entrant.display_name, race.metrics, found)
        for entrant, found in zip(race.entrants, by_entrant, strict=True)
    )
    duels = tuple(
        _duel(metric, race, by_entrant, first, second)
        for metric in race.metrics
        for first, second in combinations(range(len(race.entrants)), 2)
    )
    return RaceTable(rows, duels)


def _row(name: str, metrics: Sequence[str], entries: Sequence[Entry]) -> EntrantRow:
    finished = _finished(entries)
    stops = Counter(one.stop_reason for one in entries if one.stop_reason is not None)
    failures = Counter(one.error.reason for one in entries if one.error is not None)
    return EntrantRow(
        entrant=name,
        curves=tuple(_curve(metric, finished) for metric in metrics),
        images=_mean([one.image_count for one in finished]),
        seconds=_mean([one.seconds for one in finished if one.seconds is not None]),
        stops=tuple(stops.most_common()),
        failures=tuple(failures.most_common()),
    )


def _curve(metric: str, finished: Sequence[Entry]) -> Curve:
    courses = [one.best_by_round() for one in finished]
    length = max((len(course) for course in courses), default=0)
    rounds = []
    for index in range(length):
        judged = [course[min(index, len(course) - 1)].judgements.get(metric) for course in courses]
        rounds.append(_mean([one.normalized for one in judged if one is not None]))
    last = [judgement.raw for one in finished if (judgement := _final(one, metric)) is not None]
    raw = math.fsum(last) / len(last) if last and all(map(math.isfinite, last)) else None
    return Curve(metric, tuple(rounds), raw)


def _duel(metric: str, race: Race, by_entrant: Sequence[Sequence[Entry]], first: int, second: int) -> Duel:
    one, other = _finals(by_entrant[first], metric), _finals(by_entrant[second], metric)
    common = sorted(one.keys() & other.keys())
    comparison = None
    if common:
        pairs = [one[index] for index in common], [other[index] for index in common]
        comparison = paired_comparison(*pairs, tie_epsilon=TIE_EPSILON)
    return Duel(metric, race.entrants[first].display_name, race.entrants[second].display_name, comparison)


def _finals(entries: Sequence[Entry], metric: str) -> dict[int, float]:
    """Last normalized value by target."""
    judged = ((one.target_index, _final(one, metric)) for one in _finished(entries))
    return {index: judgement.normalized for index, judgement in judged if judgement is not None}


def _finished(entries: Sequence[Entry]) -> list[Entry]:
    return [one for one in entries if one.state is EntryState.SUCCEEDED and one.rounds]


def _final(entry: Entry, metric: str) -> Judgement | None:
    return entry.best.judgements.get(metric) if entry.best else None


def _mean(values: Sequence[float]) -> MeanInterval | None:
    return mean_interval(values) if values else None
