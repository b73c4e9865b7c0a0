"""Parts of the cluster coming up, as a table that fills in a terminal and as lines elsewhere."""

from __future__ import annotations

from typing import Any

from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from likeness._numbers import seconds_text
from likeness.cli.live_view import LiveView
from likeness.cli.output import Output


class StartupView(LiveView):
    """Shows the cluster's events: "part" with its state, and "ready". Their `seconds` count from the start."""

    def __init__(self, output: Output) -> None:
        super().__init__(output, frames_per_second=8, transient=False)
        self._parts: dict[str, dict[str, Any]] = {}
        self._spinner = Spinner("dots", style="cyan")

    def show(self, event: dict[str, Any]) -> None:
        """Takes in an event."""
        if event["event"] == "part":
            self._parts[event["part"]] = event
            if self._live is None and event["state"] != "starting":
                line = (
                    f"  {event['part']:<10} {event['state']} after {seconds_text(event['seconds'])}  {event['detail']}"
                )
                self._output.say(line.rstrip())
        elif event["event"] == "ready":
            self._output.say(f"Cluster ready after {seconds_text(event['seconds'])}, gateway at {event['address']}")

    def _region(self) -> Table:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for name, event in self._parts.items():
            state = event["state"]
            if state == "starting":
                table.add_row(self._spinner, name, Text("starting", style="dim"))
            else:
                mark = Text("✓", style="green") if state == "ready" else Text("!", style="yellow")
                told = f"{state} after {seconds_text(event['seconds'])}  {event['detail']}"
                table.add_row(mark, name, Text(told, style="dim"))
        return table
