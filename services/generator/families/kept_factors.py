"""Factors that were read off a stock scheduler, kept for pictures with the same schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from services.generator import schedulers
from services.generator.families.kept import Kept

ReadOff = Callable[[Any, Sequence[torch.Tensor]], torch.Tensor | None]
"""Leads a scheduler through timesteps; None where its steps are not linear."""

LARGE = 1000.0
"""Values of which it shows whether steps clip them."""


class KeptFactors:
    """Factors of the schedules of one family. The engine's thread is its only user."""

    def __init__(self, read_off: ReadOff, most: int) -> None:
        """Takes what reads factors off a scheduler, and of how many schedules they are kept."""
        self._read_off = read_off
        self._kept: Kept[torch.Tensor | None] = Kept(most)

    def find(self, scheduler: Any, timesteps: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor | None:
        """Factors on a device. None where the scheduler has to take the steps itself.

        Args:
            scheduler: As it is before a picture's first step; it is left so.
            timesteps: Those of the picture, the last ones of the scheduler.
            device: That of the picture's latents.
        """

        def read_off() -> torch.Tensor | None:
            found = self._read_off(schedulers.copied(scheduler), timesteps)
            return None if found is None else found.to(device)

        return self._kept.find((type(scheduler), tuple(scheduler.timesteps.tolist()), len(timesteps)), read_off)
