"""The tables of a race: entrants, and pairs of them."""

from __future__ import annotations

from likeness import RaceDetails, RaceDuel, RaceEntrantRow, RaceMean
from likeness._numbers import arrow, gain_text, interval_text, p_text, raw_text, score_text
from likeness.report.html import Html, el
from likeness.report.races.collecting import RaceReport
from likeness.report.races.curves import swatch


def entrants(report: RaceReport) -> Html:
    """A row for each entrant: means, costs, how its loops ended."""
    details = report.details
    metrics = details.race.metrics
    head = el("tr", [el("th", name) for name in ("entrant", "finished", *metrics, "pictures", "seconds", "stopped by")])
    rows = [_entrant(report, index, row) for index, row in enumerate(details.table.rows)]
    note = (
        "Means over the finished targets after the last round, normalized to 0..1 with 1 best, and their 95 % "
        "confidence intervals; below them the mean in the metric’s own units, ↑ higher is better, ↓ lower is. Pictures "
        "and seconds are those of a finished target. Seconds count from the moment a gateway began to work on a target "
        "and include waiting for backends that the other entrants use too."
    )
    table = el("table", el("thead", head), el("tbody", rows))
    return el("section", el("h2", "Who did how well"), _card(table, note))


def duels(details: RaceDetails) -> Html | None:
    """Every pair of entrants under every metric."""
    if not any(one.difference for one in details.table.duels):
        return None
    names = ("metric", "first − second", "mean difference", "paired t p", "Wilcoxon p", "wins · ties · losses", "pairs")
    head = el("tr", [el("th", name) for name in names])
    rows = [_duel(one) for one in details.table.duels]
    epsilon = f"{details.table.tie_epsilon:g}"
    note = (
        f"Only targets that both finished count. Differences of at most {epsilon} are ties. P values are two-sided "
        f"and not corrected for the {len(rows)} tests of each kind in this table."
    )
    return el("section", el("h2", "Pair by pair"), _card(el("table", el("thead", head), el("tbody", rows)), note))


def _entrant(report: RaceReport, index: int, row: RaceEntrantRow) -> Html:
    done = row.progress
    targets = done.running + done.succeeded + done.failed + done.cancelled + done.deleted
    others = {"failed": done.failed, "cancelled": done.cancelled, "deleted": done.deleted, "running": done.running}
    left = ", ".join(f"{count} {name}" for name, count in others.items() if count)
    why = [f"{reason.lower().replace('_', ' ')} ×{count}" for reason, count in row.failures]
    stops = [f"{reason.replace('_', ' ')} ×{count}" for reason, count in row.stops]
    return el(
        "tr",
        el("th", swatch(index), row.entrant),
        el("td", f"{done.succeeded} of {targets}", el("small", left, class_="bad") if left else None),
        [_metric(report, row, metric) for metric in report.details.race.metrics],
        el("td", _number(row.images, "")),
        el("td", _number(row.seconds, " s")),
        el("td", ", ".join(stops) or "–", el("small", ", ".join(why), class_="bad") if why else None, class_="why"),
    )


def _metric(report: RaceReport, row: RaceEntrantRow, metric: str) -> Html:
    curve = row.curve(metric)
    final = curve.final if curve else None
    if curve is None or final is None:
        return el("td", "–")
    way = f" {arrow(report.higher_is_better[metric])}" if metric in report.higher_is_better else ""
    raw = None if curve.raw_mean is None else el("small", f"{raw_text(curve.raw_mean)}{way}")
    return el("td", el("b", score_text(final.mean)), " ", _interval(final), raw)


def _duel(duel: RaceDuel) -> Html:
    names = el("td", f"{duel.first} − {duel.second}")
    if duel.difference is None:
        return el("tr", el("th", duel.metric), names, el("td", "no common target", colspan=5, class_="muted"))
    kind = "up" if duel.difference.mean > 0 else "down" if duel.difference.mean < 0 else "even"
    return el(
        "tr",
        el("th", duel.metric),
        names,
        el("td", el("span", gain_text(duel.difference.mean), class_=f"chip {kind}"), " ", _interval(duel.difference)),
        el("td", "–" if duel.t_test_p is None else p_text(duel.t_test_p)),
        el("td", "–" if duel.wilcoxon_p is None else p_text(duel.wilcoxon_p)),
        el("td", _share(duel), f"{duel.wins} · {duel.ties} · {duel.losses}"),
        el("td", duel.difference.count),
    )


def _share(duel: RaceDuel) -> Html:
    """Wins, ties and losses as a bar."""
    total = max(duel.wins + duel.ties + duel.losses, 1)
    parts = (("won", duel.wins), ("tied", duel.ties), ("lost", duel.losses))
    bars = [el("span", class_=name, style=f"width:{100 * count / total:.1f}%") for name, count in parts if count]
    return el("span", bars, class_="share")


def _interval(mean: RaceMean) -> Html:
    return el("span", interval_text(mean.low, mean.high), class_="muted")


def _number(mean: RaceMean | None, unit: str) -> str:
    return "–" if mean is None else f"{mean.mean:.1f}{unit}"


def _card(table: Html, note: str) -> Html:
    return el("div", el("div", table, class_="scroll"), el("p", note, class_="muted note"), class_="card race")
