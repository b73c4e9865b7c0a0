"""A race in the terminal: a live line for each entrant while it runs, tables at its end."""

from __future__ import annotations

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from likeness import Race, RaceDetails, RaceEntrantRow, RaceMean, RaceProgress, RaceUpdate
from likeness._numbers import gain_text, interval_text, p_text, score_text
from likeness.cli.live_view import LiveView
from likeness.cli.output import Output


class RaceProgressView(LiveView):
    """Shows the updates of one race; `show` each of them inside the `with` block."""

    def __init__(self, output: Output) -> None:
        super().__init__(output, frames_per_second=4, transient=True)
        self._newest: Race | None = None
        self._said: tuple[RaceProgress, ...] = ()

    def show(self, update: RaceUpdate) -> None:
        """Takes in an update."""
        race = update.race
        if self._output.json:
            self._output.value({"race": race.name, "state": race.state, "progress": race.progress})
            return
        if not self._said:
            targets, entrants = len(race.targets), len(race.entrants)
            self._output.say(Text.assemble((race.name, "bold"), f"  {targets} targets, {entrants} entrants"))
        self._newest = race
        if self._live is None and _ended(race.progress) != _ended(self._said):
            parts = [f"{one.display_name} {_done(now)}" for one, now in zip(race.entrants, race.progress, strict=True)]
            self._output.say("  " + "   ".join(parts))
        self._said = race.progress

    def _region(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        if (race := self._newest) is not None:
            for entrant, now in zip(race.entrants, race.progress, strict=True):
                bar = ProgressBar(total=max(now.max_images, 1), completed=now.images, width=24)
                counts = f"{_done(now)}, {now.finished_rounds} rounds, {now.images} pictures"
                table.add_row(Text(entrant.display_name), bar, Text(counts, style="dim"))
        return table


def show_table(details: RaceDetails, output: Output) -> None:
    """Entrants, then pairs of them."""
    race, table = details.race, details.table
    columns = ("entrant", ">finished", *race.metrics, ">pictures", ">seconds", "stopped by")
    output.say()
    output.table(columns, [_row(row, race.metrics) for row in table.rows])
    rows = []
    for duel in table.duels:
        if duel.difference is None:
            rows.append((duel.metric, f"{duel.first} - {duel.second}", "no common target", "", "", "", ""))
            continue
        found = duel.difference
        rows.append(
            (
                duel.metric,
                f"{duel.first} - {duel.second}",
                f"{gain_text(found.mean)} {interval_text(found.low, found.high)}".rstrip(),
                "-" if duel.t_test_p is None else p_text(duel.t_test_p),
                "-" if duel.wilcoxon_p is None else p_text(duel.wilcoxon_p),
                f"{duel.wins}/{duel.ties}/{duel.losses}",
                str(found.count),
            )
        )
    output.say()
    output.table(
        ("metric", "pair", "mean difference, 95 % CI", ">paired t p", ">Wilcoxon p", ">win/tie/loss", ">pairs"), rows
    )
    output.say(Text(f"a difference of at most {table.tie_epsilon:g} is a tie; p is not corrected", style="dim"))


def _row(row: RaceEntrantRow, metrics: tuple[str, ...]) -> list[str | Text]:
    done = row.progress
    targets = done.running + done.succeeded + done.failed + done.cancelled + done.deleted
    curves = [row.curve(metric) for metric in metrics]
    stops = [f"{reason.replace('_', ' ')} {count}" for reason, count in row.stops]
    failures = [f"{reason} {count}" for reason, count in row.failures]
    return [
        row.entrant,
        f"{done.succeeded} of {targets}",
        *(_mean(curve.final if curve else None) for curve in curves),
        "-" if row.images is None else f"{row.images.mean:.1f}",
        "-" if row.seconds is None else f"{row.seconds.mean:.1f}",
        ", ".join([*stops, *failures]) or "-",
    ]


def _mean(mean: RaceMean | None) -> str:
    return "-" if mean is None else f"{score_text(mean.mean)} {interval_text(mean.low, mean.high)}".rstrip()


def _done(now: RaceProgress) -> str:
    others = ((now.failed, "failed"), (now.cancelled, "cancelled"), (now.deleted, "deleted"))
    targets = now.running + now.succeeded + sum(count for count, _ in others)
    return ", ".join([f"{now.succeeded}/{targets} finished", *(f"{count} {name}" for count, name in others if count)])


def _ended(progress: tuple[RaceProgress, ...]) -> tuple[int, ...]:
    return tuple(one.succeeded + one.failed + one.cancelled + one.deleted for one in progress)
