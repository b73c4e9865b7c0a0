"""`race`: the same targets through several strategies, generators or metrics, and who did how well."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from likeness import Client, EntrantOptions, ImageSource, RaceUpdate
from likeness.cli.arguments import UsageError, command, names
from likeness.cli.connection import connect
from likeness.cli.output import Output
from likeness.cli.race_view import RaceProgressView, show_table
from likeness.report.races import write_race_report

_INLINE_BYTES = 48 << 20
"""Targets that are larger together go one by one: a message holds 64 MiB."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = command(commands, "race", _run, "run the same targets through several entrants and compare them")
    # argparse would put the targets last, where an option's list of values swallows them.
    parser.usage = f"{parser.prog} [-h] [--json] [--address HOST:PORT] TARGET ... --entrant KEY=VALUE,... --entrant ..."
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="pictures to regenerate, at most 256")
    parser.add_argument(
        "--entrant",
        action="append",
        default=[],
        metavar="KEY=VALUE,...",
        help=f"who races, 2 to 16 of them, such as name=long,strategy=repainter,rounds=8,selection_metrics=ssim+psnr; "
        f"keys: name, {', '.join(_KEYS)}",
    )
    parser.add_argument(
        "--metric",
        type=names,
        action="extend",
        default=[],
        metavar="A,B",
        help="metrics that judge every entrant alike (default: the profile's list)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first target; the others count on (default: 0)"
    )
    parser.add_argument("--name", default="", metavar="TEXT", help="name for people")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.html, race.json, table.csv and entries.csv there"
    )


def _run(args: argparse.Namespace, output: Output) -> int:
    entrants = read_entrants(args.entrant)
    paths = [Path(target) for target in args.targets]
    with connect(args) as client, RaceProgressView(output) as view:
        last: list[RaceUpdate] = []

        def show(update: RaceUpdate) -> None:
            last[:] = [update]
            view.show(update)

        try:
            details = client.race(
                _targets(client, paths),
                entrants,
                metrics=args.metric,
                seed=args.seed,
                display_name=args.name,
                on_update=show,
            )
        except KeyboardInterrupt:
            if last:
                output.notes.print(f"Race cancelled; what it made stays as {last[0].race.name}")
            raise
        view.close()
        if output.json:
            output.value({"race": details.race, "table": details.table, "entries": details.entries})
        else:
            show_table(details, output)
        if args.out is not None:
            written = write_race_report(client, details, args.out)
            if output.json:
                output.value({"report": str(written)})
            output.say(Text.assemble(("Report  ", "bold"), str(written)))
    return 0


def _targets(client: Client, paths: Sequence[Path]) -> dict[str, ImageSource]:
    """Targets by name; those that do not fit into one message are uploaded before."""
    large = sum(path.stat().st_size for path in paths) > _INLINE_BYTES
    found: dict[str, ImageSource] = {}
    for path in paths:
        # Files of two folders may have one name.
        name = path.name if path.name not in found else str(path)
        found[name[-200:]] = client.upload_image(path) if large else path
    if len(found) < len(paths):
        raise UsageError("a target comes twice")
    return found


def read_entrants(given: Sequence[str]) -> dict[str, EntrantOptions]:
    """Entrants by name from "name=a,strategy=b,rounds=4".

    Raises:
        UsageError: Not of this form, a key that does not exist, a value that is no number, or a name that comes twice.
    """
    entrants: dict[str, EntrantOptions] = {}
    for text in given:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        options: dict[str, Any] = {}
        for key, equals, value in pairs:
            key = key.strip()
            if not equals or key in options or (key != "name" and key not in _KEYS):
                raise UsageError(
                    f"--entrant {text}: {key!r} is not one of name, {', '.join(_KEYS)}, each once as KEY=VALUE"
                )
            try:
                options[key] = value.strip() if key == "name" else _KEYS[key](value.strip())
            except ValueError:
                raise UsageError(f"--entrant {text}: {key} is {value!r}, not a number that it can be") from None
        name = options.pop("name", "") or options.get("strategy", "")
        if not name or name in entrants:
            raise UsageError(f"--entrant {text}: needs a name of its own, name=NAME")
        entrants[name] = EntrantOptions(**options)  # type: ignore[typeddict-item]
    if len(entrants) < 2:
        raise UsageError("a race needs at least two --entrant")
    return entrants


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _metrics(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("+") if part)


_KEYS: dict[str, Callable[[str], Any]] = {
    "strategy": str,
    "rounds": int,
    "candidates": int,
    "image_budget": int,
    "seconds_budget": float,
    "target_score": float,
    "plateau_rounds": int,
    "plateau_gain": float,
    "fresh_noise": _flag,
    "selection_metrics": _metrics,
    "generator_model": str,
    "steps": int,
    "guidance_scale": float,
}
"""What an entrant may say, and how it is read; metrics stand between plus signs, since commas are taken."""
