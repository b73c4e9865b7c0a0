"""How long pictures take: measured by the engine's thread, read for time-left, retry-after and deadline estimates."""

from __future__ import annotations

_NEWEST_WEIGHT = 0.1
"""Weight of the newest value in the running means."""


class Mean:
    """A running mean; 0 before the first value."""

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, value: float) -> None:
        """Takes a new value in."""
        self.value += _NEWEST_WEIGHT * (value - self.value) if self.value else value


class Pace:
    """Running means of one model's pictures."""

    def __init__(self) -> None:
        self.step_seconds = Mean()
        """From a picture's step to its next, other groups' steps between them included."""
        self.decode_seconds = Mean()
        self.item_seconds = Mean()
        """Share of a picture in the denoiser's time."""
