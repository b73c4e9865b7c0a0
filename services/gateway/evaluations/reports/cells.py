"""What a report keeps of its items: for each metric, group and system some sums, however many items there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from services.common.errors import PreconditionError, Reason
from services.common.statistics import Moments
from services.gateway.evaluations.reports.values import ItemValues

ALL = ""
"""Name of the group of all items together."""
MAX_CELLS = 100_000
"""Metrics times groups times systems of a report: more than anybody reads, and what its memory is bounded by."""


@dataclass(slots=True)
class Cell:
    """Items of one group and system by one metric, and their differences from the baseline's.

    `above` and `below` count the items with a higher and a lower value than the baseline's.
    """

    values: Moments = field(default_factory=Moments)
    failed: int = 0
    differences: Moments = field(default_factory=Moments)
    above: int = 0
    below: int = 0

    def pair(self, ours: float, theirs: float) -> None:
        """Takes an item that the system and the baseline have."""
        self.differences.add(ours - theirs)
        self.above += ours > theirs
        self.below += ours < theirs

    def merge(self, other: Cell) -> None:
        """Takes the items of another."""
        self.values.merge(other.values)
        self.failed += other.failed
        self.differences.merge(other.differences)
        self.above += other.above
        self.below += other.below


class Cells:
    """Cells by metric, group and system, filled item by item.

    Args:
        metrics: Metrics of the report.
        baseline: System that the others are compared with.
    """

    def __init__(self, metrics: Sequence[str], baseline: str) -> None:
        self.metrics = metrics
        self.baseline = baseline
        self.lower_is_better: set[str] = set()
        # Only those that have items: groups and systems may be as many as items.
        self._cells: dict[str, dict[str, list[Cell]]] = {}
        self._count = 0
        self._key: tuple[str, str] | None = None
        self._sums: dict[str, list[tuple[float, int]]] = {}

    def add(self, items: Iterable[ItemValues]) -> None:
        """Takes items. Over all calls, those of the same group and item_id come one after the other.

        Raises:
            PreconditionError: REPORT_TOO_LARGE.
        """
        for item in items:
            if (key := (item.group, item.item_id)) != self._key:
                self._pair()
                self._key = key
            self.lower_is_better |= item.lower_is_better
            cells = self._of(item.group, item.system)
            sums = self._sums.setdefault(item.system, [(0.0, 0)] * len(self.metrics))
            for index, metric in enumerate(self.metrics):
                if (value := item.values.get(metric)) is None:
                    cells[index].failed += 1
                else:
                    cells[index].values.add(value)
                    total, count = sums[index]
                    sums[index] = (total + value, count + 1)

    def finished(self) -> Iterator[tuple[str, str, dict[str, Cell]]]:
        """Cells by system, for each metric and group in the order of the report: all items first, then by name."""
        self._pair()
        self._key = None
        together = self._together()
        groups = sorted(group for group in self._cells if group != ALL)
        for index, metric in enumerate(self.metrics):
            for group, systems in ((ALL, together), *((group, self._cells[group]) for group in groups)):
                yield metric, group, {system: systems[system][index] for system in sorted(systems)}

    def _of(self, group: str, system: str) -> list[Cell]:
        systems = self._cells.setdefault(group, {})
        if system not in systems:
            self._count += len(self.metrics)
            if self._count > MAX_CELLS:
                message = f"the items have more groups and systems than a report of {MAX_CELLS:,} means can show"
                raise PreconditionError(Reason.REPORT_TOO_LARGE, message)
            systems[system] = [Cell() for _ in self.metrics]
        return systems[system]

    def _pair(self) -> None:
        """Compares what the systems have of the item that is complete. One that came several times has its mean."""
        theirs = self._sums.pop(self.baseline, None)
        if theirs is not None and self._key is not None:
            systems = self._cells[self._key[0]]
            for system, ours in self._sums.items():
                for cell, (our, our_count), (their, their_count) in zip(systems[system], ours, theirs, strict=True):
                    if our_count and their_count:
                        cell.pair(our / our_count, their / their_count)
        self._sums = {}

    def _together(self) -> dict[str, list[Cell]]:
        together: dict[str, list[Cell]] = {}
        for _, systems in sorted(self._cells.items()):
            for system, cells in systems.items():
                merged = together.setdefault(system, [Cell() for _ in self.metrics])
                for into, cell in zip(merged, cells, strict=True):
                    into.merge(cell)
        return together
