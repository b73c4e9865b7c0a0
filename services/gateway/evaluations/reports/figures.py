"""Figures of an evaluation, laid out as PRIP's tables: systems down, metrics and groups across, a test for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from services.common.errors import InvalidInputError
from services.common.statistics import MeanInterval, PairedComparison, mean_interval, paired_comparison
from services.gateway.evaluations.reports.values import ItemValues

ALL = ""
"""Name of the group of all items together."""

Pairs = Mapping[tuple[str, str], float]
"""Values by group and item_id; an item_id that comes several times has the mean."""


@dataclass(frozen=True)
class Mean:
    """Mean of one metric in one group under one system; `interval` is None if no item has a value."""

    group: str
    system: str
    metric: str
    higher_is_better: bool
    failed_count: int
    interval: MeanInterval | None


@dataclass(frozen=True)
class Comparison:
    """One system against the baseline over the items that both have; wins are the system's, by the metric's direction.

    `paired.difference` is raw: system less baseline, also where lower is better.
    """

    group: str
    metric: str
    baseline: str
    system: str
    paired: PairedComparison


@dataclass(frozen=True)
class Report:
    """Figures in the order of metrics, then groups (all items first), then systems by name."""

    means: tuple[Mean, ...]
    comparisons: tuple[Comparison, ...]


class _Table:
    """Values of all items, and how many have none."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = metrics
        self.systems: set[str] = set()
        self.groups: set[str] = set()
        self.lower_is_better: set[str] = set()
        self._values: defaultdict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(dict)
        self._failed: defaultdict[tuple[str, str, str], int] = defaultdict(int)

    def add(self, item: ItemValues) -> None:
        self.systems.add(item.system)
        self.groups.add(item.group)
        self.lower_is_better |= item.lower_is_better
        for metric in self.metrics:
            place = (metric, item.group, item.system)
            if metric in item.values:
                self._values[place].setdefault(item.item_id, []).append(item.values[metric])
            else:
                self._failed[place] += 1

    def shown_groups(self) -> Iterator[str]:
        yield ALL
        yield from sorted(group for group in self.groups if group != ALL)

    def values(self, metric: str, group: str, system: str) -> list[float]:
        found = (self._values[metric, one, system] for one in self._within(group))
        return [value for by_id in found for values in by_id.values() for value in values]

    def pairs(self, metric: str, group: str, system: str) -> Pairs:
        return {
            (one, item_id): sum(values) / len(values)
            for one in self._within(group)
            for item_id, values in self._values[metric, one, system].items()
        }

    def failed(self, metric: str, group: str, system: str) -> int:
        return sum(self._failed[metric, one, system] for one in self._within(group))

    def _within(self, group: str) -> Iterable[str]:
        return self.groups if group == ALL else (group,)


def figures_of(items: Iterable[ItemValues], metrics: Sequence[str], baseline: str = "") -> Report:
    """Aggregates items.

    Args:
        items: Values of every item that has a result.
        metrics: Metrics in the order of the report.
        baseline: System that the others are compared with; empty means the first by name.

    Raises:
        InvalidInputError: no item belongs to the baseline.
    """
    table = _Table(metrics)
    for item in items:
        table.add(item)
    systems = sorted(table.systems)
    if baseline and baseline not in table.systems:
        raise InvalidInputError(
            "baseline", f"{baseline[:200]!r} is no system", allowed=", ".join(systems) or "none yet"
        )
    baseline = baseline or next(iter(systems), "")
    places = [(metric, group, system) for metric in metrics for group in table.shown_groups() for system in systems]
    return Report(
        means=tuple(mean for place in places if (mean := _mean(table, *place))),
        comparisons=tuple(
            found
            for metric, group, system in places
            if system != baseline and (found := _comparison(table, metric, group, baseline, system))
        ),
    )


def _mean(table: _Table, metric: str, group: str, system: str) -> Mean | None:
    values, failed = table.values(metric, group, system), table.failed(metric, group, system)
    if not values and not failed:
        return None
    higher_is_better = metric not in table.lower_is_better
    return Mean(group, system, metric, higher_is_better, failed, mean_interval(values) if values else None)


def _comparison(table: _Table, metric: str, group: str, baseline: str, system: str) -> Comparison | None:
    ours, theirs = table.pairs(metric, group, system), table.pairs(metric, group, baseline)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return None
    paired = paired_comparison([ours[key] for key in both], [theirs[key] for key in both])
    if metric in table.lower_is_better:
        paired = replace(paired, wins=paired.losses, losses=paired.wins)
    return Comparison(group, metric, baseline, system, paired)
