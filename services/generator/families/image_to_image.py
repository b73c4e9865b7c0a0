"""Image to image as the stock pipelines of UNets have it: the initial image, noised, and the schedule's last steps."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from PIL import Image

from services.generator.domain import GenerationRecord
from services.generator.families.pipeline_family import PipelineFamily, Start


class ImageToImageFamily(PipelineFamily):
    """A family whose pictures may start from another picture."""

    takes_initial_image = True

    def _start(
        self,
        record: GenerationRecord,
        initial_image: Image.Image | None,
        scheduler: Any,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> Start:
        if initial_image is None:
            return super()._start(record, initial_image, scheduler, dtype, generator)
        skipped = (record.steps - record.denoising_steps) * scheduler.order
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        timesteps = tuple(scheduler.timesteps[skipped:])
        pixels = self.pipeline.image_processor.preprocess(initial_image).to(self.device, dtype)
        # The encoder draws before the noise is drawn. On the CPU: schedulers move their tables to where latents are.
        encoded = self._encode_picture(pixels, dtype, generator).cpu()
        noise = self._noise(record, dtype, generator)[None]
        noisy: torch.Tensor = scheduler.add_noise(encoded, noise, timesteps[0][None])
        return Start(timesteps, noisy[0].to(self.device))

    @abstractmethod
    def _encode_picture(self, pixels: torch.Tensor, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
        """Scaled latents [1, C, H, W] of pixels [1, 3, H, W] from -1 to 1."""
