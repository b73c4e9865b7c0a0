"""Who raced how: settings of the entrants, and what was the same for all."""

from __future__ import annotations

from likeness import RaceDetails, RaceEntrant
from likeness.report.html import Html, el
from likeness.report.races.curves import swatch


def section(details: RaceDetails) -> Html:
    """A card for each entrant, and one for the race."""
    race = details.race
    common: list[tuple[str, object]] = [
        ("race", el("code", race.id)),
        ("seed", f"{race.seed} + index of the target"),
        ("judged by", ", ".join(race.metrics)),
        ("judged is", "the best picture of each entrant, by its own selection"),
    ]
    cards = [_card(el("h3", "The same for all"), common)]
    cards += [_card(el("h3", swatch(index), one.display_name), _rows(one)) for index, one in enumerate(race.entrants)]
    return el("section", el("h2", "Who raced how"), el("div", cards, class_="cards"))


def _rows(entrant: RaceEntrant) -> list[tuple[str, object]]:
    loop = entrant.loop
    rows: list[tuple[str, object]] = [
        ("strategy", loop.strategy),
        ("rounds × candidates", f"{loop.rounds} × {loop.candidates}"),
        ("image budget", loop.image_budget),
        ("selects by", " + ".join(entrant.selection_metrics)),
        ("generator", entrant.generator_model),
    ]
    rows += [("steps", entrant.steps)] if entrant.steps is not None else []
    rows += [("guidance scale", f"{entrant.guidance_scale:g}")] if entrant.guidance_scale is not None else []
    rows += [("target score", f"{loop.target_score:g}")] if loop.target_score is not None else []
    if loop.plateau_rounds is not None:
        rows.append(("plateau", f"{loop.plateau_rounds} rounds without a gain of {loop.plateau_gain:g}"))
    rows += [("seconds budget", f"{loop.seconds_budget:g} s")] if loop.seconds_budget is not None else []
    rows += [("first prompt", loop.first_prompt)] if loop.first_prompt else []
    rows += [("noise", "fresh for every picture")] if loop.fresh_noise else []
    return rows


def _card(title: Html, rows: list[tuple[str, object]]) -> Html:
    return el("div", title, el("dl", [[el("dt", name), el("dd", value)] for name, value in rows]), class_="card")
