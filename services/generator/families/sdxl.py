"""Stable Diffusion XL: two text encoders, size conditioning, classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import retrieve_latents
from PIL import Image

from services.generator.domain import GenerationRecord
from services.generator.families import guidance
from services.generator.families.base import Conditioning, Denoising
from services.generator.families.pipeline_family import PROMPT, by_text, next_timesteps, scaled_latents, told
from services.generator.families.unet_family import UNetFamily

_POOLED, _SIZES = "pooled_prompt_embeds", "time_ids"


class StableDiffusionXL(UNetFamily):
    """A StableDiffusionXLPipeline. Both encoders read the same prompt; nothing is cropped or scaled."""

    _needed_parts = ("text_encoder", "text_encoder_2")

    @property
    def size_multiple_pixels(self) -> int:
        """Sides of pictures are multiples of it."""
        return int(self.pipeline.vae_scale_factor)

    def _predict(self, batch: Sequence[Denoising]) -> torch.Tensor:
        """Guided model output [B, C, H, W]."""
        output: torch.Tensor = self.pipeline.unet(
            guidance.both(batch, scaled_latents(batch)),
            guidance.both(batch, next_timesteps(batch)),
            encoder_hidden_states=guidance.rows(batch, PROMPT),
            timestep_cond=self._told_scales(batch),
            added_cond_kwargs={
                "text_embeds": guidance.rows(batch, _POOLED),
                "time_ids": guidance.both(batch, told(batch, _SIZES)),
            },
            return_dict=False,
        )[0]
        return guidance.combine(batch, output)

    def _decode(self, batch: Sequence[Denoising]) -> list[Image.Image | None]:
        """RGB pictures of finished latents. There is no safety checker."""
        vae = self.pipeline.vae
        latents = torch.stack([one.latents for one in batch])
        # The autoencoder that SDXL was published with overflows in half precision.
        is_widened = vae.dtype == torch.float16 and vae.config.force_upcast
        try:
            if is_widened:
                vae.to(torch.float32)
                latents = latents.to(torch.float32)
            decoded = vae.decode(self._unscaled(latents), return_dict=False)[0]
        finally:
            if is_widened:
                vae.to(torch.float16)
        if self.pipeline.watermark is not None:
            decoded = self.pipeline.watermark.apply_watermark(decoded)
        return self._pictures(decoded)

    def _unscaled(self, latents: torch.Tensor) -> torch.Tensor:
        config = self.pipeline.vae.config
        mean, deviation = config.get("latents_mean"), config.get("latents_std")
        if mean is None or deviation is None:
            return latents / float(config.scaling_factor)
        shift = latents.new_tensor(mean).view(1, -1, 1, 1)
        return latents * latents.new_tensor(deviation).view(1, -1, 1, 1) / float(config.scaling_factor) + shift

    def _encode_picture(self, pixels: torch.Tensor, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
        vae = self.pipeline.vae
        own = vae.dtype
        try:
            if vae.config.force_upcast:
                vae.to(torch.float32)
                pixels = pixels.to(torch.float32)
            latents = retrieve_latents(vae.encode(pixels), generator=generator).to(dtype)
        finally:
            vae.to(own)
        return self._scaled(latents)

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        config = self.pipeline.vae.config
        mean, deviation = config.get("latents_mean"), config.get("latents_std")
        if mean is None or deviation is None:
            return latents * float(config.scaling_factor)
        shift = latents.new_tensor(mean).view(1, -1, 1, 1)
        return (latents - shift) * float(config.scaling_factor) / latents.new_tensor(deviation).view(1, -1, 1, 1)

    def _encode(self, texts: list[str]) -> list[Conditioning]:
        states, _, pooled, _ = self.pipeline.encode_prompt(texts, device=self.device, do_classifier_free_guidance=False)
        return by_text({PROMPT: states, _POOLED: pooled})

    def _unconditional_text(self, record: GenerationRecord) -> str | None:
        if not record.negative_prompt and self.pipeline.config.force_zeros_for_empty_prompt:
            return None
        return super()._unconditional_text(record)

    def _further_conditioning(self, record: GenerationRecord, dtype: torch.dtype) -> Conditioning:
        size = (record.height_pixels, record.width_pixels)
        pooled_size = self.pipeline.text_encoder_2.config.projection_dim
        ids = self.pipeline._get_add_time_ids(size, (0, 0), size, dtype, text_encoder_projection_dim=pooled_size)
        return {_SIZES: ids[0].to(self.device), **super()._further_conditioning(record, dtype)}
