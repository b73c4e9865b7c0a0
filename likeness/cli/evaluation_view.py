"""An evaluation in the terminal: a bar with an estimate of the time left, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from likeness import Evaluation, EvaluationReport
from likeness._numbers import raw_text, seconds_text
from likeness.cli.live_view import LiveView
from likeness.cli.output import Output

LINE_SECONDS = 10.0
"""Between two lines where there is no terminal, and between two values with --json."""


class EvaluationView(LiveView):
    """Shows one evaluation; `show` what it has become inside the `with` block."""

    def __init__(self, output: Output) -> None:
        super().__init__(output, frames_per_second=4, transient=True)
        self._newest: Evaluation | None = None
        self._first: tuple[float, int] | None = None
        self._said_at = -LINE_SECONDS

    def show(self, evaluation: Evaluation) -> None:
        """Takes in how far it is."""
        now = time.monotonic()
        if self._first is None and evaluation.done_count:
            self._first = now, evaluation.done_count
        self._newest = evaluation
        if self._live is None and (evaluation.is_over or now - self._said_at >= LINE_SECONDS):
            self._said_at = now
            if self._output.json:
                left = self._seconds_left(evaluation, now)
                self._output.value({"evaluation": evaluation, "seconds_left": left})
            else:
                self._output.say(f"{evaluation.name}  {evaluation.state}  {self._progress(evaluation, now)}")

    def _region(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
        if (evaluation := self._newest) is not None:
            bar = ProgressBar(total=max(evaluation.total_count or 1, 1), completed=evaluation.done_count, width=40)
            table.add_row(Text(evaluation.name, style="dim"), bar, self._progress(evaluation, time.monotonic()))
        return table

    def _progress(self, evaluation: Evaluation, now: float) -> str:
        total = "?" if evaluation.total_count is None else f"{evaluation.total_count:,}"
        parts = [f"{evaluation.done_count:,} of {total} items"]
        if evaluation.failed_count:
            parts.append(f"{evaluation.failed_count:,} failed")
        left = self._seconds_left(evaluation, now)
        if evaluation.wait_reason is not None:
            parts.append(evaluation.wait_reason.message)
        elif left is not None and not evaluation.is_over:
            parts.append(f"{seconds_text(left)} left")
        return ", ".join(parts)

    def _seconds_left(self, evaluation: Evaluation, now: float) -> float | None:
        """By the items per second since the first that was seen; None until there is one."""
        if self._first is None or evaluation.total_count is None:
            return None
        seconds, items = now - self._first[0], evaluation.done_count - self._first[1]
        return seconds / items * (evaluation.total_count - evaluation.done_count) if items > 0 else None


def show_report(report: EvaluationReport, output: Output) -> None:
    """Means of all items together, a row for each system."""
    metrics = report.evaluation.settings.metrics
    means = {(one.system, one.metric): one.mean for one in report.means if not one.group}
    counts = {one.system: (one.count, one.failed_count) for one in report.means if not one.group}
    rows: list[Sequence[str]] = []
    for system, (count, failed) in counts.items():
        values = [means.get((system, metric)) for metric in metrics]
        cells = ["-" if value is None else raw_text(value) for value in values]
        rows.append((system or "-", f"{count:,}", f"{failed:,}" if failed else "", *cells))
    output.table(("system", ">items", ">failed", *(f">{metric}" for metric in metrics)), rows)
