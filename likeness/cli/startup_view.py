"""Parts of the cluster coming up, as a table that fills in a terminal and as lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from likeness._numbers import seconds_text
from likeness.cli.output import Output


class StartupView:
    """Shows the cluster's events: "part" with its state, and "ready". Their `seconds` count from the start."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._parts: dict[str, dict[str, Any]] = {}
        self._live: Live | None = None
        self._spinner = Spinner("dots", style="cyan")

    def __enter__(self) -> Self:
        if not self._output.json and self._output.console.is_terminal:
            self._live = Live(console=self._output.console, refresh_per_second=8, get_renderable=self._table)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

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

    def _table(self) -> Table:
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
