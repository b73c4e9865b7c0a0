"""`status`: how the gateway is, and everything that it needs."""

from __future__ import annotations

import argparse

from rich.text import Text

from likeness import Health
from likeness.cli.arguments import command
from likeness.cli.connection import connect
from likeness.cli.output import Output

_STYLES = {Health.SERVING: "green", Health.DEGRADED: "yellow", Health.NOT_SERVING: "red", Health.UNKNOWN: "dim"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    command(commands, "status", _run, "show how the gateway and its parts are; exit code 1 if requests would fail")


def _run(args: argparse.Namespace, output: Output) -> int:
    with connect(args) as client:
        status = client.status()
        if output.json:
            output.value(status)
        else:
            line = Text.assemble((f"{client.address}  ", "bold"), _health(status.health))
            output.say(line + Text(f"  profile {status.profile}, version {status.version}", style="dim"))
            rows = [(f"  {part.component}", _health(part.health), part.detail) for part in status.components]
            output.table(("  part", "state", "detail"), rows)
    return 1 if status.health is Health.NOT_SERVING else 0


def _health(health: Health) -> Text:
    return Text(health.replace("_", " "), style=_STYLES[health])
