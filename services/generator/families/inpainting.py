"""Inpainting as the stock pipelines have it for denoisers that see no mask: what stays is put back after each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from services.common.errors import InvalidInputError
from services.generator.domain import MID_GREY
from services.generator.schedulers import Stepped


@dataclass(frozen=True)
class Kept:
    """What a picture keeps of its initial image."""

    encoded: torch.Tensor
    """Latents [1, C, H, W] of the initial image, on the CPU."""
    noise: torch.Tensor
    """What they were noised with, shaped alike."""
    is_made_anew: torch.Tensor
    """Where the denoiser's latents count [H, W] bool, on the denoiser's device."""

    @classmethod
    def of(cls, mask: Image.Image, encoded: torch.Tensor, noise: torch.Tensor, device: torch.device) -> Self:
        """What a mask L in the size of the picture keeps.

        Raises:
            InvalidInputError: no latent lies in the white.
        """
        pixels = torch.from_numpy(np.asarray(mask) >= MID_GREY)
        # Nearest neighbours, as the stock pipelines: a latent is made anew where its top left pixel is.
        small = functional.interpolate(pixels[None, None].float(), size=encoded.shape[-2:])[0, 0] > 0
        if not small.any():
            cell = mask.width // encoded.shape[-1]
            allowed = f"white areas of at least {cell} x {cell} pixels of the picture"
            raise InvalidInputError("mask", "has no white area that is large enough for the model", allowed=allowed)
        return cls(encoded, noise, small.to(device))

    def put_back(self, stepped: Stepped, scheduler: Any, following: torch.Tensor | None) -> Stepped:
        """What a step gave, with the initial image outside the white.

        Args:
            stepped: Latents [C, H, W] from the scheduler.
            scheduler: Of the picture; it has taken the step.
            following: The next timestep, whose noise the latents have; None after the last step.
        """
        # On the CPU: schedulers move their tables to where latents are.
        noised = self.encoded
        if following is not None:
            noised = scheduler.add_noise(self.encoded, self.noise, following[None])
        return Stepped(self._outside(noised, stepped.latents), self._outside(self.encoded, stepped.clean))

    def _outside(self, kept: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        return torch.where(self.is_made_anew, made, kept[0].to(made))
