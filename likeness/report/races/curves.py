"""Curves: what each metric says of every entrant's best picture, round by round."""

from __future__ import annotations

from likeness import RaceDetails
from likeness.report.charts import curves_chart
from likeness.report.html import Html, el
from likeness.report.races.collecting import RaceReport


def section(report: RaceReport) -> Html | None:
    """A chart for each metric."""
    details = report.details
    panels = [panel for metric in details.race.metrics if (panel := _panel(details, metric)) is not None]
    if not panels:
        return None
    note = "Mean over the finished targets of the best picture so far, by the entrant’s own selection."
    return el(
        "section",
        el("h2", "Round by round"),
        el("p", note, class_="muted"),
        legend([row.entrant for row in details.table.rows]),
        el("div", panels, class_="charts"),
    )


def legend(names: list[str]) -> Html:
    """Names in the colors of their curves."""
    return el("ul", [el("li", swatch(index), name) for index, name in enumerate(names)], class_="legend")


def swatch(index: int) -> Html:
    """The color of an entrant."""
    return el("span", class_=f"swatch of-{index}")


def _panel(details: RaceDetails, metric: str) -> Html | None:
    found = [row.curve(metric) for row in details.table.rows]
    values = [[mean.mean if mean else None for mean in curve.rounds] if curve else [] for curve in found]
    if not any(values):
        return None
    chart = curves_chart(values, f"{metric} by round, normalized, one line for each entrant")
    title = el("h3", metric, el("span", "higher is better", class_="direction"))
    return el("figure", title, chart, class_="panel")
