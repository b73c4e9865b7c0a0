"""Steps of DPM++ 2M and UniPC from all that a picture has seen.

These schedulers take a hundred small operations a step, many on single numbers, from the latents and the outputs of a
few steps before. But all they do is linear: the latents after a step are a sum of the picture's first latents and of
every output since, each times a factor. The factors are read off the stock scheduler once for a schedule: led through
its timesteps, it is given in the place of each of them a coordinate of its own, so that no formula is written a second
time here. A step is then one small product, in float64: latents differ from the stock scheduler's by its own rounding.

Only in float32, where the stock scheduler rounds as little; not where something is done to the latents between steps.
DDIM's steps need no history (`linear_steps.py`); Euler's are cheap, and what it scales follows its own count of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

from services.generator import schedulers
from services.generator.families.kept_factors import LARGE, KeptFactors

MAX_KEPT = 64
"""Schedules whose factors are kept; one of 100 steps takes 160 KB."""

KINDS = (DPMSolverMultistepScheduler, UniPCMultistepScheduler)


@dataclass(eq=False)
class History:
    """What a picture has seen, and what its steps make of it."""

    factors: torch.Tensor
    """[steps, 2, 1 + steps] float64: of the next latents and of the clean ones, by what was seen."""
    seen: torch.Tensor
    """[1 + steps, numbers] float64: the first latents, then an output for each step done."""

    def step(self, number: int, output: torch.Tensor) -> schedulers.Stepped:
        """Latents after the step of a number, from 0, with the model's output of that step."""
        self.seen[number + 1] = output.flatten()
        known = slice(number + 2)
        following, clean = (self.factors[number, :, known] @ self.seen[known]).to(output.dtype).view(2, *output.shape)
        return schedulers.Stepped(following, clean)


class HistorySteps:
    """Factors of the schedules of one family. The engine's thread is its only user."""

    def __init__(self) -> None:
        self._kept = KeptFactors(_read_off, MAX_KEPT)

    def begin(self, scheduler: Any, timesteps: Sequence[torch.Tensor], latents: torch.Tensor) -> History | None:
        """A picture's history before its first step. None where the scheduler has to take the steps itself.

        Args:
            scheduler: As it is before the first step; it is left so.
            timesteps: Those of the picture, the last ones of the scheduler.
            latents: Before the first step.
        """
        if type(scheduler) not in KINDS or latents.dtype != torch.float32:
            return None
        factors = self._kept.find(scheduler, timesteps, latents.device)
        if factors is None:
            return None
        seen = latents.new_empty(1 + len(timesteps), latents.numel(), dtype=torch.float64)
        seen[0] = latents.flatten()
        return History(factors, seen)


def _read_off(scheduler: Any, timesteps: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Factors [steps, 2, 1 + steps] float64; None if the steps are not linear: clipped, or with noise of their own."""
    count = 1 + len(timesteps)
    coordinates = torch.eye(count, dtype=torch.float64)
    # In the last place what all the others together make of large values.
    signs = LARGE * torch.tensor([(-1.0) ** index for index in range(count)], dtype=torch.float64)
    places = torch.cat([coordinates, signs[:, None]], dim=1).view(count, count + 1, 1, 1, 1)
    generator = torch.Generator("cpu")
    latents, rows = places[0], []
    for timestep, output in zip(timesteps, places[1:], strict=True):
        stepped = schedulers.step(scheduler, output, timestep, latents, generator)
        latents = stepped.latents
        rows.append(torch.stack([stepped.latents, stepped.clean]))
    found = torch.stack(rows).view(len(rows), 2, -1)
    factors, large = found[..., :count], found[..., count]
    is_linear = torch.allclose(large, factors @ signs, rtol=1e-4, atol=1e-4 * LARGE)
    return factors.contiguous() if is_linear else None
