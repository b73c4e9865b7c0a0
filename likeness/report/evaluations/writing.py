"""A report as one file."""

from __future__ import annotations

from pathlib import Path

from likeness import EvaluationReport, __version__
from likeness.report.evaluations.tables import Table, tables
from likeness.report.html import Html, el
from likeness.report.page import document

SUFFIXES = (".html", ".md")


def write_evaluation_report(report: EvaluationReport, path: str | Path) -> Path:
    """Writes a report as a page (.html) or as Markdown (.md); ValueError for another suffix."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: a report is {' or '.join(SUFFIXES)}")
    text = _page(report) if path.suffix == ".html" else _markdown(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _title(report: EvaluationReport) -> str:
    return report.evaluation.display_name or report.evaluation.id


def _facts(report: EvaluationReport) -> str:
    evaluation = report.evaluation
    total = "" if evaluation.total_count is None else f" of {evaluation.total_count:,}"
    made = evaluation.settings
    pictures = f"; {made.images} pictures a prompt by {made.model}, seed {made.seed}" if made.makes_pictures else ""
    items = f"{evaluation.done_count:,}{total} items, {evaluation.failed_count:,} failed"
    why = f" ({evaluation.error.message})" if evaluation.error else ""
    return f"{evaluation.state}{why}: {items}{pictures}. {evaluation.update_time:%Y-%m-%d %H:%M} UTC"


def _page(report: EvaluationReport) -> str:
    name = el("span", report.evaluation.id, class_="muted")
    return document(
        _title(report),
        el("header", el("span", "Likeness", class_="brand"), name),
        el(
            "main",
            el("section", el("h1", _title(report)), el("p", _facts(report))),
            [_section(table) for table in tables(report)],
        ),
        el("footer", f"Made by Likeness {__version__}. This page is one file: keep it, send it."),
    )


def _section(table: Table) -> Html:
    head = el("thead", el("tr", [el("th", cell) for cell in table.heading]))
    body = el("tbody", [el("tr", [el("td", cell) for cell in row]) for row in table.rows])
    return el("section", el("h2", table.title), el("table", head, body), el("p", table.note, class_="muted"))


def _markdown(report: EvaluationReport) -> str:
    parts = [f"# {_plain(_title(report))}", _plain(_facts(report))]
    for table in tables(report):
        rows = [table.heading, ("---",) * len(table.heading), *table.rows]
        lines = "\n".join(f"| {' | '.join(map(_plain, row))} |" for row in rows)
        parts += [f"## {_plain(table.title)}", lines, _plain(table.note)]
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """A text that cannot break out of its cell, or be read as markup."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
