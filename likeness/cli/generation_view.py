"""Pictures as they are made: a live region in a terminal, elsewhere a line a preview; a table of files comes later."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from likeness import GeneratedImage, GenerationPreview, GenerationProgress
from likeness._numbers import seconds_text
from likeness.cli.live_view import LiveView
from likeness.cli.loop_view import step_bar
from likeness.cli.output import Output


class GenerationView(LiveView):
    """Shows the newest event of each picture; `show` each of them inside the `with` block."""

    def __init__(self, output: Output) -> None:
        # The region goes away at the end, where the table of files takes its place.
        super().__init__(output, frames_per_second=8, transient=True)
        self._newest: dict[int, GenerationProgress | GeneratedImage] = {}
        self._previews: dict[int, str] = {}

    def show(self, event: GenerationProgress | GeneratedImage) -> None:
        """Takes in an event."""
        self._newest[event.number] = event

    def show_preview(self, preview: GenerationPreview, path: Path) -> None:
        """Takes in a preview that was written to a file."""
        self._previews[preview.number] = path.name
        if self._output.json:
            self._output.value({"file": str(path), "preview": preview})
        elif self._live is None:
            newest = self._newest.get(preview.number)
            total = f" of {newest.total_steps}" if isinstance(newest, GenerationProgress) else ""
            self._output.say(f"{path}  step {preview.step}{total}")

    def _region(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
        for number, event in sorted(self._newest.items()):
            preview = "" if isinstance(event, GeneratedImage) else self._previews.get(number, "")
            table.add_row(f" {number}", Text(f"seed {event.seed}", style="dim"), *_state(event), preview)
        return table


def _state(event: GenerationProgress | GeneratedImage) -> tuple[Text | Table, str]:
    if isinstance(event, GeneratedImage):
        return (Text("failed", style="red") if event.error else Text("done", style="green")), ""
    if event.items_ahead and not event.total_steps:
        return step_bar(0, 0), f"{event.items_ahead} ahead"
    left = "" if event.seconds_left is None else f"{seconds_text(event.seconds_left)} left"
    return step_bar(event.step, event.total_steps), left
