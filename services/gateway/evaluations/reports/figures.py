"""Figures of an evaluation, laid out as PRIP's tables: systems down, metrics and groups across, a test for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.common.errors import InvalidInputError
from services.common.statistics import MeanInterval
from services.gateway.evaluations.reports.cells import Cell, Cells
from services.gateway.evaluations.reports.values import ItemValues

MAX_TOLD = 10
"""Systems that an error names."""


@dataclass(frozen=True)
class Systems:
    """Systems of an evaluation.

    Attributes:
        first: The first by name, at most MAX_TOLD.
        count: How many there are in all.
    """

    first: tuple[str, ...]
    count: int


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
    """One system against the baseline over the items that both have; an item_id that comes several times has its mean.

    Attributes:
        difference: Mean of system less baseline, raw, also where lower is better.
        t_p: Two-sided p of the paired t-test, as PairedComparison.t_p.
        wins: Items where the system is better, by the metric's direction.
        ties: Items where both are equal.
        losses: Items where the baseline is better.
    """

    group: str
    metric: str
    baseline: str
    system: str
    difference: MeanInterval
    t_p: float | None
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Report:
    """Figures in the order of metrics, then groups (all items first), then systems by name."""

    means: tuple[Mean, ...]
    comparisons: tuple[Comparison, ...]


class Figures:
    """Aggregates items that are given page by page, and keeps none of them.

    Args:
        metrics: Metrics in the order of the report.
        baseline: System that the others are compared with.
    """

    def __init__(self, metrics: Sequence[str], baseline: str) -> None:
        self._cells = Cells(metrics, baseline)

    def add(self, items: Iterable[ItemValues]) -> None:
        """Takes items. Over all calls, those of the same group and item_id come one after the other.

        Raises:
            PreconditionError: REPORT_TOO_LARGE.
        """
        self._cells.add(items)

    def report(self) -> Report:
        """Figures of all items; none are taken after it."""
        means: list[Mean] = []
        comparisons: list[Comparison] = []
        for metric, group, cells in self._cells.finished():
            higher = metric not in self._cells.lower_is_better
            for system, cell in cells.items():
                interval = cell.values.interval() if cell.values.count else None
                means.append(Mean(group, system, metric, higher, cell.failed, interval))
                if cell.differences.count:
                    comparisons.append(_comparison(group, metric, self._cells.baseline, system, cell, higher))
        return Report(tuple(means), tuple(comparisons))


def chosen_baseline(asked: str, systems: Systems, *, is_known: bool) -> str:
    """The baseline of a report: what was asked for, or the first system by name.

    Args:
        asked: As asked for; empty means the first.
        systems: Those of the evaluation.
        is_known: Whether what was asked for is one of them.

    Raises:
        InvalidInputError: no item belongs to the baseline.
    """
    if asked and not is_known:
        more = f" and {systems.count - len(systems.first):,} more" if systems.count > len(systems.first) else ""
        raise InvalidInputError(
            "baseline", f"{asked[:200]!r} is no system", allowed=", ".join(systems.first) + more or "none yet"
        )
    return asked or next(iter(systems.first), "")


def _comparison(group: str, metric: str, baseline: str, system: str, cell: Cell, higher: bool) -> Comparison:
    better, worse = (cell.above, cell.below) if higher else (cell.below, cell.above)
    found = cell.differences
    ties = found.count - better - worse
    return Comparison(group, metric, baseline, system, found.interval(), found.t_test(), better, ties, worse)
