"""The files of a race's report."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from likeness import Client, RaceDetails, RaceMean, to_dict
from likeness.report.races.collecting import collect_race
from likeness.report.races.page import render_race

_TABLE = ("entrant", "metric", "round", "mean", "low", "high", "targets")
_ENTRIES = ("target", "entrant", "state", "stop_reason", "error", "rounds", "images", "seconds", "session")


def write_race_report(client: Client, details: RaceDetails, folder: str | Path) -> Path:
    """Writes report.html, race.json, table.csv and entries.csv into a folder, which is made if needed.

    table.csv has the means of every round, one row for each entrant, metric and round; entries.csv one row for each
    target and entrant, with the values of its last round.

    Returns:
        The path of report.html.
    """
    folder = Path(folder)
    report = collect_race(client, details)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(render_race(report), encoding="utf-8")
    values = to_dict(details) | {"profile": report.profile, "version": report.version}
    (folder / "race.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _write_csv(folder / "table.csv", _TABLE, _table_rows(details))
    scores = [f"{metric}{kind}" for metric in details.race.metrics for kind in ("", " raw")]
    _write_csv(folder / "entries.csv", (*_ENTRIES, *scores), _entry_rows(details))
    return page


def _table_rows(details: RaceDetails) -> Iterable[Sequence[object]]:
    for row in details.table.rows:
        for curve in row.curves:
            for number, mean in enumerate(curve.rounds, 1):
                yield (row.entrant, curve.metric, number, *_cells(mean))
        for name, cost in (("images", row.images), ("seconds", row.seconds)):
            yield (row.entrant, name, "", *_cells(cost))


def _cells(mean: RaceMean | None) -> tuple[object, ...]:
    return ("", "", "", 0) if mean is None else (mean.mean, _given(mean.low), _given(mean.high), mean.count)


def _entry_rows(details: RaceDetails) -> Iterable[Sequence[object]]:
    race = details.race
    for entry in details.entries:
        target = race.targets[entry.target_index]
        scores = {score.metric: score for score in entry.scores}
        found = [scores.get(metric) for metric in race.metrics]
        yield (
            target.display_name or target.image.content_hash,
            race.entrants[entry.entrant_index].display_name,
            entry.state,
            entry.stop_reason or "",
            entry.error.reason if entry.error else "",
            entry.rounds,
            entry.images,
            _given(entry.seconds),
            entry.session,
            *(value for one in found for value in ((one.normalized, one.raw) if one else ("", ""))),
        )


def _given(value: float | None) -> object:
    return "" if value is None else value


def _write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows([_harmless(cell) for cell in row] for row in rows)


def _harmless(cell: object) -> object:
    # A spreadsheet would run text that begins like a formula.
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell
