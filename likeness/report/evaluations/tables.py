"""The tables of a report as rows of texts, for a page and for Markdown alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from likeness import EvaluationComparison, EvaluationMean, EvaluationReport
from likeness._numbers import arrow, p_text, raw_text

SIGNIFICANT = 0.01
"""Below it a star marks a mean, as in PRIP's tables."""
ALL = "all"


@dataclass(frozen=True)
class Table:
    """Texts: a heading and rows of as many cells."""

    title: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def tables(report: EvaluationReport) -> tuple[Table, ...]:
    """The means of each metric, and the comparisons with the baseline if there are any."""
    metrics = report.evaluation.settings.metrics
    found = [_means(report, metric) for metric in metrics if any(one.metric == metric for one in report.means)]
    return (*found, _comparisons(report)) if report.comparisons else tuple(found)


def system_text(name: str) -> str:
    """Name of a system for people; items need not name one."""
    return name or "(no system)"


def _means(report: EvaluationReport, metric: str) -> Table:
    means = [one for one in report.means if one.metric == metric]
    # The server says all items first; the paper puts what is general last.
    groups = [group for group in dict.fromkeys(one.group for one in means) if group]
    columns = [*groups, ""] if len(groups) > 1 else groups or [""]
    compared = [one for one in report.comparisons if one.metric == metric]
    by_place = {(one.group, one.system): one for one in means}
    tests = {(one.group, one.system): one for one in compared}
    shares = ["win", "win + tie"] if compared else []
    rows = []
    for system in dict.fromkeys(one.system for one in means):
        cells = [_mean(by_place.get((group, system)), tests.get((group, system))) for group in columns]
        rows.append((system_text(system), *cells, *(_shares(tests.get(("", system))) if compared else ())))
    headings = ("system", *(group or ALL for group in columns), *shares)
    baseline = f" * differs from {system_text(compared[0].baseline)} with p < {SIGNIFICANT}." if compared else ""
    note = f"Mean raw value ± half of its 95 % interval; n is the number of items.{baseline}"
    return Table(f"{metric} {arrow(means[0].higher_is_better)}", headings, tuple(rows), note)


def _mean(mean: EvaluationMean | None, test: EvaluationComparison | None) -> str:
    if mean is None or mean.mean is None:
        return "–" if mean is None else f"– ({mean.failed_count} failed)"
    star = "*" if test is not None and test.p is not None and test.p < SIGNIFICANT else ""
    spread = "" if mean.high is None else f" ± {raw_text(mean.high - mean.mean)}"
    failed = f", {mean.failed_count} failed" if mean.failed_count else ""
    return f"{raw_text(mean.mean)}{star}{spread} (n = {mean.count:,}{failed})"


def _shares(test: EvaluationComparison | None) -> Sequence[str]:
    if test is None:
        return "–", "–"
    return f"{test.wins / test.pair_count:.0%}", f"{(test.wins + test.ties) / test.pair_count:.0%}"


def _comparisons(report: EvaluationReport) -> Table:
    baseline = system_text(report.comparisons[0].baseline)
    rows = tuple(
        (
            one.metric,
            one.group or ALL,
            system_text(one.system),
            f"{one.pair_count:,}",
            f"{one.difference:+.4g}",
            "–" if one.low is None or one.high is None else f"{one.low:+.4g} to {one.high:+.4g}",
            "–" if one.p is None else p_text(one.p),
            f"{one.wins:,} / {one.ties:,} / {one.losses:,}",
        )
        for one in report.comparisons
    )
    heading = ("metric", "group", "system", "pairs", "difference", "95 % interval", "p", "win / tie / loss")
    note = (
        f"System less {baseline} over the items that both have (same group and item_id), in the metric's own units; a "
        "win is a better value, whichever way that is. p is that of a paired t-test, two-sided."
    )
    return Table(f"Compared with {baseline}", heading, rows, note)
