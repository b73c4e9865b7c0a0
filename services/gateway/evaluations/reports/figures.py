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
MAX_TOLD = 10
"""Systems that an error names."""

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
        self.lower_is_better: set[str] = set()
        # Both ways, so that nothing looks at pairs that no item has: groups and systems may be as many as items.
        self._groups_of: defaultdict[str, set[str]] = defaultdict(set)
        self._systems_in: defaultdict[str, set[str]] = defaultdict(set)
        self._values: defaultdict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(dict)
        self._failed: defaultdict[tuple[str, str, str], int] = defaultdict(int)

    def add(self, item: ItemValues) -> None:
        self._groups_of[item.system].add(item.group)
        self._systems_in[item.group].add(item.system)
        self.lower_is_better |= item.lower_is_better
        for metric in self.metrics:
            place = (metric, item.group, item.system)
            if metric in item.values:
                self._values[place].setdefault(item.item_id, []).append(item.values[metric])
            else:
                self._failed[place] += 1

    @property
    def systems(self) -> list[str]:
        """All systems by name."""
        return sorted(self._groups_of)

    def shown(self) -> Iterator[tuple[str, str, list[str]]]:
        """Metrics and groups in the order of the report, and the systems that have items there."""
        groups = sorted(group for group in self._systems_in if group != ALL)
        for metric in self.metrics:
            yield metric, ALL, self.systems
            for group in groups:
                yield metric, group, sorted(self._systems_in[group])

    def values(self, metric: str, group: str, system: str) -> list[float]:
        found = (self._values.get((metric, one, system), {}) for one in self._within(group, system))
        return [value for by_id in found for values in by_id.values() for value in values]

    def pairs(self, metric: str, group: str, system: str) -> Pairs:
        return {
            (one, item_id): sum(values) / len(values)
            for one in self._within(group, system)
            for item_id, values in self._values.get((metric, one, system), {}).items()
        }

    def failed(self, metric: str, group: str, system: str) -> int:
        return sum(self._failed.get((metric, one, system), 0) for one in self._within(group, system))

    def _within(self, group: str, system: str) -> Iterable[str]:
        return self._groups_of.get(system, ()) if group == ALL else (group,)


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
    systems = table.systems
    if baseline and baseline not in systems:
        raise InvalidInputError("baseline", f"{baseline[:200]!r} is no system", allowed=_told(systems))
    baseline = baseline or next(iter(systems), "")
    means: list[Mean] = []
    comparisons: list[Comparison] = []
    for metric, group, present in table.shown():
        means += [mean for system in present if (mean := _mean(table, metric, group, system))]
        theirs = table.pairs(metric, group, baseline)
        others = (system for system in present if system != baseline)
        comparisons += [
            one for system in others if (one := _comparison(table, metric, group, baseline, system, theirs))
        ]
    return Report(tuple(means), tuple(comparisons))


def _told(systems: Sequence[str]) -> str:
    more = f" and {len(systems) - MAX_TOLD:,} more" if len(systems) > MAX_TOLD else ""
    return ", ".join(systems[:MAX_TOLD]) + more or "none yet"


def _mean(table: _Table, metric: str, group: str, system: str) -> Mean | None:
    values, failed = table.values(metric, group, system), table.failed(metric, group, system)
    if not values and not failed:
        return None
    higher_is_better = metric not in table.lower_is_better
    return Mean(group, system, metric, higher_is_better, failed, mean_interval(values) if values else None)


def _comparison(table: _Table, metric: str, group: str, baseline: str, system: str, theirs: Pairs) -> Comparison | None:
    ours = table.pairs(metric, group, system)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return None
    paired = paired_comparison([ours[key] for key in both], [theirs[key] for key in both])
    if metric in table.lower_is_better:
        paired = replace(paired, wins=paired.losses, losses=paired.wins)
    return Comparison(group, metric, baseline, system, paired)
