"""`regenerate`: a picture in, its prompt and its likeness out."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.text import Text

from likeness import Client, Event, RegenerationResult, SessionDetails, SessionSnapshot
from likeness._numbers import score_text, seconds_text
from likeness.cli import cluster
from likeness.cli.arguments import add_loop, command
from likeness.cli.cluster import Cluster
from likeness.cli.connection import address
from likeness.cli.loop_view import LoopView
from likeness.cli.output import Output
from likeness.report import write_report


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = command(commands, "regenerate", _run, "find the prompt and the picture that match a target picture")
    parser.add_argument("target", help="picture to regenerate: PNG, JPEG, WebP, GIF, BMP or TIFF")
    add_loop(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.html, best.png and result.json there")
    parser.add_argument(
        "--up", action="store_true", help="start an embedded cluster for this run and stop it afterwards"
    )
    parser.add_argument("--profile", default="", help="models of that cluster")


def _run(args: argparse.Namespace, output: Output) -> int:
    picture = Path(args.target).read_bytes()
    started: AbstractContextManager[Cluster]
    if args.up and not args.address:
        started = cluster.running(output, profile=args.profile)
    else:
        started = nullcontext(Cluster(address(args)))
    with started as up, Client(up.address) as client:
        regenerate(client, picture, args, output, args.out, name=Path(args.target).name)
    return 0


def regenerate(
    client: Client, picture: bytes, args: argparse.Namespace, output: Output, folder: Path | None, *, name: str
) -> None:
    """Runs a loop with live progress and writes what it found. Ctrl-C cancels the loop and says so."""
    session = ""
    with LoopView(output) as view:

        def show(event: Event) -> None:
            nonlocal session
            if isinstance(event.body, SessionSnapshot):
                session = event.body.session.id
            view.show(event)

        try:
            result = client.regenerate(
                picture,
                strategy=args.strategy,
                rounds=args.rounds,
                candidates=args.candidates,
                metrics=args.metrics,
                seed=args.seed,
                first_prompt=args.first_prompt,
                fresh_noise=args.fresh_noise,
                target_score=args.target_score,
                plateau_rounds=args.plateau_rounds,
                image_budget=args.image_budget,
                seconds_budget=args.seconds_budget,
                display_name=name[:200],
                on_event=show,
            )
        except KeyboardInterrupt:
            if session:
                output.notes.print(f"Loop cancelled; what it made stays: likeness session show {session}")
            raise
    _say_result(result, output)
    if folder is not None:
        written = write_report(client, SessionDetails(result.session, result.rounds), folder)
        if output.json:
            output.value({"report": str(written)})
        output.say(Text.assemble(("Report  ", "bold"), str(written)))


def _say_result(result: RegenerationResult, output: Output) -> None:
    if output.json:
        output.value({"result": result, "prompt": result.prompt})
        return
    seconds = (result.session.update_time - result.session.create_time).total_seconds()
    images = sum(candidate.image is not None for item in result.rounds for candidate in item.candidates)
    output.say()
    output.say(Text.assemble(("Prompt  ", "bold"), result.prompt))
    facts = f"{images} pictures in {seconds_text(seconds)}"
    output.say(Text.assemble(("Score   ", "bold"), f"{score_text(result.best.loop_score)}  ({facts})"))
