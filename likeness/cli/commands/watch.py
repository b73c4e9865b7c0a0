"""`watch`: the events of a session, from the beginning or after a cursor."""

from __future__ import annotations

import argparse

from likeness.cli.arguments import command
from likeness.cli.connection import connect
from likeness.cli.loop_view import LoopView
from likeness.cli.output import Output


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = command(commands, "watch", _run, "show what happens in a session, until it is idle")
    parser.add_argument("session", help="session id or name")
    parser.add_argument("--after", default="", metavar="CURSOR", help="go on after the event with this cursor")
    parser.add_argument("--follow", action="store_true", help="stay when the session is idle, until Ctrl-C")


def _run(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client, LoopView(output) as view:
        for event in client.watch(args.session, after_cursor=args.after, until_idle=not args.follow):
            view.show(event)
    return 0
