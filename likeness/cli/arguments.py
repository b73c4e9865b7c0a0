"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from likeness.cli.output import Output

Run = Callable[[argparse.Namespace, Output], int]


class UsageError(Exception):
    """The command line asks for something that makes no sense."""


def command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Run,
    summary: str,
    *,
    connects: bool = True,
) -> argparse.ArgumentParser:
    """A parser for a command with --json and, if it talks to a gateway, --address."""
    parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    parser.add_argument("--json", action="store_true", help="print JSON, one value a line")
    if connects:
        parser.add_argument(
            "--address",
            metavar="HOST:PORT",
            help="gateway to talk to (default: LIKENESS_ADDRESS, else the running cluster, else 127.0.0.1:7400)",
        )
    parser.set_defaults(run=run)
    return parser


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """--metrics a,b,c."""
    parser.add_argument(
        "--metrics", type=names, default=(), metavar="A,B", help="metrics to compute (default: the profile's list)"
    )


def add_loop(parser: argparse.ArgumentParser) -> None:
    """What `regenerate` lets people choose."""
    parser.add_argument("--strategy", default="", help="who writes the prompts (default: the profile's)")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of the loop (default: 4)")
    parser.add_argument("--candidates", type=int, metavar="N", help="pictures a round (default: 4)")
    add_metrics(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed that all others derive from (default: 0)")
    parser.add_argument("--first-prompt", default="", metavar="TEXT", help="prompt to begin with")
    parser.add_argument(
        "--fresh-noise", action="store_true", help="start every picture from a fresh seed; no search over noises"
    )
    stops = parser.add_argument_group("when to stop before the rounds are done")
    stops.add_argument("--target-score", type=float, metavar="S", help="loop score to reach, above 0 and at most 1")
    stops.add_argument("--plateau-rounds", type=int, metavar="N", help="rounds in a row without a gain")
    stops.add_argument("--image-budget", type=int, metavar="N", help="pictures made")
    stops.add_argument("--seconds-budget", type=float, metavar="S", help="seconds of running; ends with the round")


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
