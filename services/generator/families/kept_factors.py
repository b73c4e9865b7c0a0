"""Factors that were read off a stock scheduler, kept for pictures with the same schedule."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

ReadOff = Callable[[Any, Sequence[torch.Tensor]], torch.Tensor | None]
"""Leads a scheduler through timesteps; None where its steps are not linear."""

LARGE = 1000.0
"""Values of which it shows whether steps clip them."""


class KeptFactors:
    """Factors of the schedules of one family. The engine's thread is its only user."""

    def __init__(self, read_off: ReadOff, most: int) -> None:
        """Takes what reads factors off a scheduler, and of how many schedules they are kept."""
        self._read_off = read_off
        self._most = most
        self._kept: OrderedDict[Hashable, torch.Tensor | None] = OrderedDict()
        """By schedule, least recently used first."""

    def find(self, scheduler: Any, timesteps: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor | None:
        """Factors on a device. None where the scheduler has to take the steps itself.

        Args:
            scheduler: As it is before a picture's first step; it is left so.
            timesteps: Those of the picture, the last ones of the scheduler.
            device: That of the picture's latents.
        """
        key = (type(scheduler), tuple(scheduler.timesteps.tolist()), len(timesteps))
        if key not in self._kept:
            found = self._read_off(copy.deepcopy(scheduler), timesteps)
            self._kept[key] = None if found is None else found.to(device)
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._kept[key]
