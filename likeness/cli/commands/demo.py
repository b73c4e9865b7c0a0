"""`demo`: the whole way in one command, from a cold start to a report."""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

from likeness import Client
from likeness.cli import cluster
from likeness.cli.arguments import add_loop, command
from likeness.cli.commands.regenerate import regenerate
from likeness.cli.output import Output


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = command(
        commands, "demo", _run, "start a cluster, regenerate a picture, write a report, stop", connects=False
    )
    parser.add_argument("target", nargs="?", help="picture to regenerate (default: a drawing that no model has seen)")
    add_loop(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the report (default: out/demo-N)")
    parser.add_argument("--profile", default="", help="models to run (default: LIKENESS_PROFILE, else embedded)")


def _run(args: argparse.Namespace, output: Output) -> int:
    if args.target:
        picture, name = Path(args.target).read_bytes(), Path(args.target).name
    else:
        picture, name = resources.files("likeness.assets").joinpath("demo_target.png").read_bytes(), "demo_target.png"
    folder = args.out or _next_folder(Path("out"))
    with cluster.running(output, profile=args.profile) as up, Client(up.address) as client:
        output.say()
        regenerate(client, picture, args, output, folder, name=name)
    return 0


def _next_folder(parent: Path) -> Path:
    """The first out/demo-N that does not exist."""
    number = 1
    while (parent / f"demo-{number}").exists():
        number += 1
    return parent / f"demo-{number}"
