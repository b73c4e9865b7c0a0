"""What every entrant made of every target."""

from __future__ import annotations

from likeness import RaceEntry, RaceEntryState
from likeness._numbers import score_text
from likeness.report.html import Html, el
from likeness.report.races.collecting import MAX_PICTURED_TARGETS, RaceReport


def section(report: RaceReport) -> Html:
    """A row of pictures for each of the first targets."""
    race = report.details.race
    rows = [_row(report, index) for index in range(min(len(race.targets), MAX_PICTURED_TARGETS))]
    rest = len(race.targets) - len(rows)
    note = f"{rest} more targets are in race.json and entries.csv." if rest else ""
    more = el("p", note, class_="muted") if rest else None
    return el("section", el("h2", "Target by target"), rows, more)


def _row(report: RaceReport, index: int) -> Html:
    race = report.details.race
    target = race.targets[index]
    picture = report.pictures.get(target.image.content_hash)
    name = target.display_name or f"target {index + 1}"
    first = el(
        "li",
        picture.img(f"Target {name}") if picture else el("div", "deleted", class_="missing"),
        el("b", name),
        class_="target",
    )
    entries = [report.details.entry(index, place) for place in range(len(race.entrants))]
    best = max((_value(one, race.metrics[0]) or -1.0 for one in entries if one), default=-1.0)
    cards = [
        _card(report, one, entrant.display_name, winner=one is not None and _value(one, race.metrics[0]) == best)
        for one, entrant in zip(entries, race.entrants, strict=True)
    ]
    return el("ol", first, cards, class_="strip")


def _card(report: RaceReport, entry: RaceEntry | None, name: str, *, winner: bool) -> Html:
    picture = report.pictures.get(entry.best_content_hash) if entry else None
    is_done = entry is not None and entry.state is RaceEntryState.SUCCEEDED
    lines = [
        el("span", f"{score.metric} {score_text(score.normalized)}", class_="numbers line-of")
        for score in (entry.scores if entry else ())
    ]
    problem = None
    if entry is not None and not is_done:
        why = f": {entry.error.message}" if entry.error else ""
        problem = el("span", f"{entry.state}{why}", class_="bad")
    return el(
        "li",
        picture.img(f"Best picture of {name}") if picture else el("div", "no picture", class_="missing"),
        el("b", name),
        lines,
        problem,
        class_="winner" if winner and is_done else None,
    )


def _value(entry: RaceEntry, metric: str) -> float | None:
    if entry.state is not RaceEntryState.SUCCEEDED:
        return None
    return next((score.normalized for score in entry.scores if score.metric == metric), None)
