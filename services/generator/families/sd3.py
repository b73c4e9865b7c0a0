"""Stable Diffusion 3.x: three text encoders, a transformer, flow matching, classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift
from PIL import Image

from services.common.errors import InvalidInputError
from services.generator.domain import GenerationRecord
from services.generator.families import guidance
from services.generator.families.base import Conditioning, Denoising
from services.generator.families.pipeline_family import PROMPT, PipelineFamily, by_text, next_timesteps

_POOLED = "pooled_prompt_embeds"
_T5_TOKENS = 256


class StableDiffusion3(PipelineFamily):
    """A StableDiffusion3Pipeline. All encoders read the same prompt; the third one, T5, may be missing."""

    _needed_parts = ("text_encoder", "text_encoder_2")

    @property
    def tokenizer(self) -> Any:
        """T5's, which reads more than CLIP's; CLIP's where T5 is missing."""
        return self.pipeline.tokenizer if self.pipeline.text_encoder_3 is None else self.pipeline.tokenizer_3

    @property
    def context_tokens(self) -> int:
        """Tokens of a prompt that the text encoder reads, marks included."""
        return int(self.pipeline.tokenizer_max_length) if self.pipeline.text_encoder_3 is None else _T5_TOKENS

    @property
    def size_multiple_pixels(self) -> int:
        """Sides of pictures are multiples of it: the transformer takes latents in patches."""
        return int(self.pipeline.vae_scale_factor * self.pipeline.transformer.config.patch_size)

    def _predict(self, batch: Sequence[Denoising]) -> torch.Tensor:
        """Guided velocity [B, C, H, W]."""
        output: torch.Tensor = self.pipeline.transformer(
            hidden_states=guidance.both(batch, torch.stack([one.latents for one in batch])),
            timestep=guidance.both(batch, next_timesteps(batch)),
            encoder_hidden_states=guidance.rows(batch, PROMPT),
            pooled_projections=guidance.rows(batch, _POOLED),
            return_dict=False,
        )[0]
        return guidance.combine(batch, output)

    def _decode(self, batch: Sequence[Denoising]) -> list[Image.Image | None]:
        """RGB pictures of finished latents. There is no safety checker."""
        vae = self.pipeline.vae
        latents = torch.stack([one.latents for one in batch])
        decoded = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
        return self._pictures(decoded)

    def _check(self, record: GenerationRecord) -> None:
        super()._check(record)
        # The places of patches are learned, up to so many in a row.
        largest = self.size_multiple_pixels * self.pipeline.transformer.config.pos_embed_max_size
        for field, side in (("width_pixels", record.width_pixels), ("height_pixels", record.height_pixels)):
            if side > largest:
                raise InvalidInputError(field, f"is {side}", allowed=f"up to {largest}")

    def _encode(self, texts: list[str]) -> list[Conditioning]:
        states, _, pooled, _ = self.pipeline.encode_prompt(
            texts,
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=_T5_TOKENS,
        )
        return by_text({PROMPT: states, _POOLED: pooled})

    def _further_conditioning(self, record: GenerationRecord, dtype: torch.dtype) -> Conditioning:  # noqa: ARG002
        return {}

    def _timestep_arguments(self, record: GenerationRecord, scheduler: Any) -> dict[str, Any]:
        config = scheduler.config
        arguments = super()._timestep_arguments(record, scheduler)
        if not config.get("use_dynamic_shifting"):
            return arguments
        # Larger pictures stay at high noise for longer.
        arguments["mu"] = calculate_shift(
            (record.height_pixels // self.size_multiple_pixels) * (record.width_pixels // self.size_multiple_pixels),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.16),
        )
        return arguments

    @property
    def _channels(self) -> int:
        return int(self.pipeline.transformer.config.in_channels)
