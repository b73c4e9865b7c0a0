"""Stable Diffusion 1.x and 2.x, and the embedded model: a UNet that reads one text encoder, guidance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents
from PIL import Image

from services.generator.families import guidance, pictures
from services.generator.families.base import Conditioning, Denoising
from services.generator.families.pipeline_family import PROMPT, by_text, next_timesteps, scaled_latents
from services.generator.families.unet_family import UNetFamily

_SIZE_MULTIPLE_PIXELS = 8


class StableDiffusion(UNetFamily):
    """A StableDiffusionPipeline, with or without a safety checker."""

    _needed_parts = ("text_encoder",)

    @property
    def size_multiple_pixels(self) -> int:
        """Sides of pictures are multiples of it: 8, as the pipeline has it for every autoencoder."""
        return _SIZE_MULTIPLE_PIXELS

    def _predict(self, batch: Sequence[Denoising]) -> torch.Tensor:
        """Guided model output [B, C, H, W]."""
        output: torch.Tensor = self.pipeline.unet(
            guidance.both(batch, scaled_latents(batch)),
            guidance.both(batch, next_timesteps(batch)),
            encoder_hidden_states=guidance.rows(batch, PROMPT),
            timestep_cond=self._told_scales(batch),
            return_dict=False,
        )[0]
        return guidance.combine(batch, output)

    def _decode(self, batch: Sequence[Denoising]) -> list[Image.Image | None]:
        """RGB pictures of finished latents; None where the safety checker withheld one."""
        pipeline = self.pipeline
        latents = torch.stack([one.latents for one in batch])
        # Some decoders draw noise of their own.
        generators = [one.generator for one in batch]
        scaled = latents / pipeline.vae.config.scaling_factor
        decoded = pipeline.vae.decode(scaled, return_dict=False, generator=generators)[0]
        checked, flags = pipeline.run_safety_checker(decoded, self.device, latents.dtype)
        shown = [True] * len(batch) if flags is None else [not flag for flag in flags]
        made = pictures.of_decoded(pipeline.image_processor, checked)
        return [picture if visible else None for picture, visible in zip(made, shown, strict=True)]

    def _encode_picture(self, pixels: torch.Tensor, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:  # noqa: ARG002
        vae = self.pipeline.vae
        latents: torch.Tensor = retrieve_latents(vae.encode(pixels), generator=generator)
        return latents * float(vae.config.scaling_factor)

    def _encode(self, texts: list[str]) -> list[Conditioning]:
        states, _ = self.pipeline.encode_prompt(texts, self.device, 1, do_classifier_free_guidance=False)
        return by_text({PROMPT: states})
