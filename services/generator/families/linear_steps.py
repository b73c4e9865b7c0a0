"""DDIM's steps, taken for many pictures at once whatever timesteps they are at.

The stock scheduler steps one picture by some forty small operations, mostly on single numbers. But what DDIM does is
linear: the next latents are one factor times the latents and another times the model's output. The factors are read off
the stock scheduler, which is led through its timesteps with single numbers for latents and outputs, so that no formula
is written a second time here, and kept for pictures with the same schedule. Latents differ from the stock scheduler's
by rounding, and not by who shares the step: each number is computed by itself.

Only DDIM, and only in float32: half precision would be rounded in fewer places than by the stock scheduler, and Euler's
latents can be in the thousands, where rounding shows. What remembers former steps is in `history_steps.py`; ancestral
samplers draw noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler

from services.generator import schedulers
from services.generator.families.base import Denoising
from services.generator.families.kept_factors import LARGE, KeptFactors

MAX_KEPT = 256
"""Schedules whose factors are kept."""


class LinearSteps:
    """Factors of the schedules of one family. The engine's thread is its only user."""

    def __init__(self) -> None:
        self._kept = KeptFactors(_read_off, MAX_KEPT)

    def factors(self, scheduler: Any, timesteps: Sequence[torch.Tensor], latents: torch.Tensor) -> torch.Tensor | None:
        """Factors [steps, 4] of latents and output for the next latents, then of both for the clean ones.

        Of float32 and on the latents' device. None where the scheduler has to take the steps itself.

        Args:
            scheduler: As it is before a picture's first step; it is left so.
            timesteps: Those of the picture, the last ones of the scheduler.
            latents: Of the picture.
        """
        if type(scheduler) is not DDIMScheduler or latents.dtype != torch.float32:
            return None
        return self._kept.find(scheduler, timesteps, latents.device)


def _read_off(scheduler: Any, timesteps: Sequence[torch.Tensor]) -> torch.Tensor | None:
    latents, outputs = (
        torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1)
        for values in ((1.0, 0.0, LARGE), (0.0, 1.0, -LARGE))
    )
    generator = torch.Generator("cpu")
    rows = []
    for timestep in timesteps:
        stepped = schedulers.step(scheduler, outputs, timestep, latents, generator)
        rows.append(torch.stack([stepped.latents, stepped.clean]))
    found = torch.stack(rows).view(len(rows), 2, -1)
    factors, large = found[..., :2], found[..., 2]
    is_linear = torch.allclose(large, LARGE * (factors[..., 0] - factors[..., 1]))
    return factors.flatten(1).float() if is_linear else None


def step(batch: Sequence[Denoising], outputs: Sequence[torch.Tensor]) -> None:
    """Takes the next steps of pictures of one group that have factors, with their model outputs [C, H, W]."""
    latents, output = torch.stack([one.latents for one in batch]), torch.stack(list(outputs))
    factors = torch.stack([one.factors[one.step] for one in batch if one.factors is not None])
    columns = factors.view(len(batch), -1, 1, 1, 1).unbind(1)
    following = columns[0] * latents + columns[1] * output
    clean = columns[2] * latents + columns[3] * output
    for one, own_following, own_clean in zip(batch, following, clean, strict=True):
        one.latents, one.clean = own_following, own_clean
        one.step += 1
