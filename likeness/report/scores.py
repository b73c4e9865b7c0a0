"""Score curves: the loop score and every metric over the rounds, then the numbers behind them."""

from __future__ import annotations

from likeness import Candidate, Score
from likeness._numbers import raw_text, score_text
from likeness.report.charts import Series, line_chart
from likeness.report.collecting import ReportData
from likeness.report.html import Html, el


def section(data: ReportData) -> Html | None:
    """Charts and table."""
    metrics = _metrics(data)
    if not metrics:
        return None
    panels = [_loop_panel(data), *(_metric_panel(data, name, sample) for name, sample in metrics.items())]
    legend = el(
        "p", "A dot is a picture, the line follows the best picture of each round by loop score.", class_="muted"
    )
    return el("section", el("h2", "Scores"), legend, el("div", panels, class_="charts"), _table(data, metrics))


def _metrics(data: ReportData) -> dict[str, Score]:
    """A score of every metric that gave a value anywhere, in order."""
    found: dict[str, Score] = {}
    for item in data.rounds:
        for candidate in item.candidates:
            for score in candidate.scores:
                if score.error is None:
                    found.setdefault(score.metric, score)
    return found


def _loop_panel(data: ReportData) -> Html:
    series = Series(
        rounds=[[c.loop_score for c in item.candidates if c.loop_score is not None] for item in data.rounds],
        best=[item.best.loop_score if item.best else None for item in data.rounds],
    )
    selection = " + ".join(data.session.settings.selection_metrics)
    title = el("h3", "Loop score", el("span", "higher is better", class_="direction"))
    note = f"what the loop optimizes: mean of {selection}, 0 to 1" if selection else "what the loop optimizes, 0 to 1"
    return el("figure", title, line_chart(series, "loop score by round"), el("figcaption", note), class_="panel main")


def _metric_panel(data: ReportData, metric: str, sample: Score) -> Html:
    def raw(candidate: Candidate | None) -> float | None:
        score = candidate.score(metric) if candidate else None
        return None if score is None or score.error else score.raw

    rows = [[raw(candidate) for candidate in item.candidates] for item in data.rounds]
    series = Series([[v for v in row if v is not None] for row in rows], [raw(item.best) for item in data.rounds])
    better = "higher is better" if sample.higher_is_better else "lower is better"
    selects = "Selects the best picture. " if metric in data.session.settings.selection_metrics else ""
    description = next((item.description for item in data.metrics if item.id == metric), "")
    direction = el("span", better, class_="direction" if sample.higher_is_better else "direction lower")
    chart = line_chart(series, f"{metric} by round, {better}")
    return el("figure", el("h3", metric, direction), chart, el("figcaption", selects, description), class_="panel")


def _table(data: ReportData, metrics: dict[str, Score]) -> Html:
    head = el(
        "tr",
        el("th", "Best of round"),
        el("th", "loop score"),
        [el("th", name, " ↑" if sample.higher_is_better else " ↓") for name, sample in metrics.items()],
    )
    body = []
    for item in data.rounds:
        if item.best is None:
            continue
        cells = [_cell(item.best.score(name)) for name in metrics]
        loop = el("td", score_text(item.best.loop_score))
        body.append(el("tr", el("th", f"{item.number} ", el("span", item.best.id, class_="muted")), loop, cells))
    note = "Large: raw value in its units, ↑ higher is better, ↓ lower is. Small: normalized, 0 to 1, 1 is best."
    return el(
        "div", el("table", el("thead", head), el("tbody", body)), el("p", note, class_="muted"), class_="scroll card"
    )


def _cell(score: Score | None) -> Html:
    if score is None or score.error:
        return el("td", "–", title=score.error.message if score and score.error else None)
    return el("td", raw_text(score.raw), el("small", score_text(score.normalized)))
