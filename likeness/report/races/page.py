"""The page of a race: verdict, table, curves, pairs, pictures, settings, and how to read it."""

from __future__ import annotations

from likeness import Race, RaceDetails, RaceDuel, RaceState
from likeness._numbers import p_text, score_text, seconds_text
from likeness.report.html import Html, el
from likeness.report.page import document, footer
from likeness.report.races import curves, pictures, settings, tables
from likeness.report.races.collecting import RaceReport

SIGNIFICANT = 0.05


def render_race(report: RaceReport) -> str:
    """The whole document."""
    race = report.details.race
    return document(
        race.display_name or race.id,
        _masthead(race),
        el(
            "main",
            _hero(report.details),
            tables.entrants(report),
            curves.section(report),
            tables.duels(report.details),
            pictures.section(report),
            settings.section(report.details),
        ),
        footer(report.version, report.profile),
    )


def verdict(details: RaceDetails) -> str:
    """One sentence on who leads by the first metric, and whether that could be chance."""
    metric = details.race.metrics[0]
    finals = {row.entrant: curve.final for row in details.table.rows if (curve := row.curve(metric))}
    means = {name: mean.mean for name, mean in finals.items() if mean is not None}
    if len(means) < 2:
        return "No two entrants have a finished target."
    first, second = sorted(means, key=lambda name: -means[name])[:2]
    duel = next(
        one for one in details.table.duels if one.metric == metric and {one.first, one.second} == {first, second}
    )
    lead = f"{first} leads by {metric}: {score_text(means[first])} against {score_text(means[second])} of {second}"
    return f"{lead}, {_certainty(duel, leader=first)}."


def _certainty(duel: RaceDuel, *, leader: str) -> str:
    if duel.difference is None:
        return "on different targets"
    if (duel.difference.mean if duel.first == leader else -duel.difference.mean) <= 0:
        return "but not on the targets that both finished"
    if duel.t_test_p is None:
        return "too few pairs for a test"
    told_apart = "a difference that is hardly chance" if duel.t_test_p < SIGNIFICANT else "which may be chance"
    p = p_text(duel.t_test_p)
    return f"{told_apart} (p {p if p.startswith('<') else f'= {p}'}, {duel.difference.count} pairs)"


def _masthead(race: Race) -> Html:
    when = f"{race.end_time or race.create_time:%d %B %Y, %H:%M} UTC".lstrip("0")
    name = f"{race.display_name} · " if race.display_name else ""
    return el("header", el("span", "Likeness", class_="brand"), el("span", f"{name}{race.id} · {when}", class_="muted"))


def _hero(details: RaceDetails) -> Html:
    race = details.race
    facts = [
        ("targets", str(len(race.targets))),
        ("entrants", str(len(race.entrants))),
        ("pictures", f"{sum(one.images for one in race.progress):,}"),
        ("not finished", str(sum(one.failed + one.cancelled + one.deleted + one.running for one in race.progress))),
    ]
    if race.end_time is not None:
        facts.append(("from start to end", seconds_text((race.end_time - race.create_time).total_seconds())))
    if race.state is not RaceState.FINISHED:
        facts.append(("the race", "was cancelled" if race.state is RaceState.CANCELLED else "still runs"))
    listed = [el("li", el("b", value), el("span", name)) for name, value in facts]
    return el("section", el("h1", verdict(details)), el("ul", listed, class_="facts"), class_="hero")
