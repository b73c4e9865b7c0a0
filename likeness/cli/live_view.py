"""What moves in a terminal while the rest scrolls by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import RenderableType
from rich.live import Live

from likeness.cli.output import Output


class LiveView(ABC):
    """A view with a live region inside its `with` block, where there is a terminal and no --json.

    Args:
        output: Where it is shown.
        frames_per_second: How often the region is drawn.
        transient: Whether the region goes away at the end.
    """

    def __init__(self, output: Output, *, frames_per_second: float, transient: bool) -> None:
        self._output = output
        self._live: Live | None = None
        """The region, while there is one."""
        self._frames_per_second = frames_per_second
        self._transient = transient

    @abstractmethod
    def _region(self) -> RenderableType:
        """What the region shows now."""

    def __enter__(self) -> Self:
        if not self._output.json and self._output.console.is_terminal:
            self._live = Live(
                console=self._output.console,
                refresh_per_second=self._frames_per_second,
                get_renderable=self._region,
                transient=self._transient,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the region; fine if there is none."""
        if self._live is not None:
            self._live.stop()
            self._live = None
