"""Image to image as the stock pipelines of UNets have it: the initial image, noised, and the schedule's last steps.

A picture with a mask keeps the initial image outside of it (`inpainting.py`). One with a second strength is started in
two rounds, as OMR-Diffusion has it: its finished latents are noised again, with fresh noise, and denoised once more by
the schedule's last steps. This is the same as a second call of the stock pipeline with the latents of the first.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from services.generator import schedulers
from services.generator.domain import GenerationRecord
from services.generator.families.base import Denoising
from services.generator.families.inpainting import Kept
from services.generator.families.pipeline_family import Given, PipelineFamily, Start

_KEPT, _SECOND = "kept", "second"
"""Names of what a picture on its way keeps."""


@dataclass(frozen=True)
class SecondPass:
    """What takes over when the steps of the first pass are done."""

    after_steps: int
    scheduler: Any
    """New: it knows nothing of the first pass."""


class ImageToImageFamily(PipelineFamily):
    """A family whose pictures may start from another picture."""

    takes_initial_image = True

    def _start(
        self,
        record: GenerationRecord,
        given: Given | None,
        scheduler: Any,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> Start:
        if given is None:
            return super()._start(record, given, scheduler, dtype, generator)
        timesteps = _last(record.first_steps, scheduler, record)
        pixels = self.pipeline.image_processor.preprocess(given.picture).to(self.device, dtype)
        # The encoder draws before the noise is drawn. On the CPU: schedulers move their tables to where latents are.
        encoded = self._encode_picture(pixels, dtype, generator).cpu()
        noise = self._noise(record, dtype, generator)[None]
        extra: dict[str, Any] = {}
        if given.mask is not None:
            extra[_KEPT] = Kept.of(given.mask, encoded, noise, self.device)
        if record.second_strength:
            second = SecondPass(len(timesteps), self._scheduler(record))
            timesteps += _last(record.second_steps, second.scheduler, record)
            extra[_SECOND] = second
        if given.mask is not None and record.strength == 1:
            # The inpainting pipelines let nothing of the initial image through here, the others do.
            noisy = noise * scheduler.init_noise_sigma
        else:
            noisy = scheduler.add_noise(encoded, noise, timesteps[0][None])
        return Start(timesteps, noisy[0].to(self.device), extra)

    def _step(self, one: Denoising, timestep: torch.Tensor, output: torch.Tensor) -> schedulers.Stepped:
        stepped = super()._step(one, timestep, output)
        done = one.step + 1
        kept: Kept | None = one.extra.get(_KEPT)
        if kept is not None:
            return kept.put_back(stepped, one.scheduler, one.timesteps[done] if done < len(one.timesteps) else None)
        second: SecondPass | None = one.extra.get(_SECOND)
        if second is not None and done == second.after_steps:
            one.scheduler = second.scheduler
            return schedulers.Stepped(_noised_again(one, stepped.latents), stepped.clean)
        return stepped

    @abstractmethod
    def _encode_picture(self, pixels: torch.Tensor, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
        """Scaled latents [1, C, H, W] of pixels [1, 3, H, W] from -1 to 1."""


def _last(steps: int, scheduler: Any, record: GenerationRecord) -> tuple[torch.Tensor, ...]:
    """Timesteps of a picture's last steps, where the scheduler begins from now on."""
    skipped = (record.steps - steps) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped)
    return tuple(scheduler.timesteps[skipped:])


def _noised_again(one: Denoising, latents: torch.Tensor) -> torch.Tensor:
    """Finished latents [C, H, W] of the first pass as the second one starts from them."""
    if one.record.noise_mix:
        # The mix has drawn nothing, and may have the seed's first noise in it, which would not be fresh.
        torch.randn(latents.shape, generator=one.generator, dtype=latents.dtype)
    noise = torch.randn(latents.shape, generator=one.generator, dtype=latents.dtype)
    timestep = one.timesteps[one.step + 1]
    noisy: torch.Tensor = one.scheduler.add_noise(latents.cpu()[None], noise[None], timestep[None])[0]
    return noisy.to(latents.device)
