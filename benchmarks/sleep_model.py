"""A denoiser whose calls sleep for a known time, behind the real engine: what batching and replicas bring, without what
a model computes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import torch
from PIL import Image

from services.generator.families.base import Denoising
from services.generator.families.stable_diffusion import StableDiffusion

STEP_SECONDS = 2.0
"""Of a denoiser call, whatever its batch: so long that what replicas compute beside it is small, on a busy core too."""


class SleepingDenoiser(StableDiffusion):
    """The embedded model, but for denoiser and decoder. Its pictures have one color: the id of the process."""

    def _predict(self, batch: Sequence[Denoising]) -> torch.Tensor:
        """Zeros [B, C, H, W], after a while."""
        time.sleep(STEP_SECONDS)
        return torch.zeros_like(torch.stack([one.latents for one in batch]))

    def decode(self, batch: Sequence[Denoising]) -> list[Image.Image | None]:
        """Pictures that say which replica made them."""
        records = [one.record for one in batch]
        color = tuple(os.getpid().to_bytes(3, "big"))
        return [Image.new("RGB", (one.width_pixels, one.height_pixels), color) for one in records]


def maker(picture: Image.Image) -> int:
    """Id of the process that made a picture."""
    return int.from_bytes(bytes(picture.convert("RGB").tobytes()[:3]), "big")
