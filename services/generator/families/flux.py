"""FLUX: packed latents, flow matching, and a guidance scale that the transformer is told instead of a second half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from PIL import Image

from services.generator.domain import GenerationRecord
from services.generator.families.base import Conditioning, Denoising
from services.generator.families.pipeline_family import PROMPT, PipelineFamily, by_text, next_timesteps, told

_POOLED, _TEXT_IDS, _IMAGE_IDS, _SCALE = "pooled_prompt_embeds", "text_ids", "image_ids", "guidance"
_TIMESTEPS = 1000
_DEV_TOKENS, _SCHNELL_TOKENS = 512, 256


class Flux(PipelineFamily):
    """A FluxPipeline: dev, which is told the guidance scale, or schnell, to which it says nothing.

    Neither has an unconditional half that could read a negative prompt.
    """

    takes_negative_prompt = False

    _needed_parts = ("text_encoder", "text_encoder_2")

    @property
    def takes_guidance_scale(self) -> bool:
        """Whether the transformer is told the guidance scale."""
        return bool(self.pipeline.transformer.config.guidance_embeds)

    @property
    def tokenizer(self) -> Any:
        """T5's, which reads more than CLIP's."""
        return self.pipeline.tokenizer_2

    @property
    def context_tokens(self) -> int:
        """Tokens of a prompt that the text encoder reads, marks included: as many as the model was trained with."""
        return _DEV_TOKENS if self.takes_guidance_scale else _SCHNELL_TOKENS

    @property
    def size_multiple_pixels(self) -> int:
        """Sides of pictures are multiples of it: latents are packed two by two."""
        return 2 * int(self.pipeline.vae_scale_factor)

    def _predict(self, batch: Sequence[Denoising]) -> torch.Tensor:
        """Velocity [B, patches, channels]."""
        latents = torch.stack([one.latents for one in batch])
        of_all = batch[0].conditioning
        output: torch.Tensor = self.pipeline.transformer(
            hidden_states=latents,
            timestep=next_timesteps(batch).to(latents.dtype) / _TIMESTEPS,
            guidance=told(batch, _SCALE) if self.takes_guidance_scale else None,
            pooled_projections=told(batch, _POOLED),
            encoder_hidden_states=told(batch, PROMPT),
            txt_ids=of_all[_TEXT_IDS],
            img_ids=of_all[_IMAGE_IDS],
            return_dict=False,
        )[0]
        return output

    def _decode(self, batch: Sequence[Denoising]) -> list[Image.Image | None]:
        """RGB pictures of finished latents. There is no safety checker."""
        pipeline, size = self.pipeline, batch[0].record
        packed = torch.stack([one.latents for one in batch])
        latents = pipeline._unpack_latents(packed, size.height_pixels, size.width_pixels, pipeline.vae_scale_factor)
        config = pipeline.vae.config
        decoded = pipeline.vae.decode(latents / config.scaling_factor + config.shift_factor, return_dict=False)[0]
        return self._pictures(decoded)

    def _encode(self, texts: list[str]) -> list[Conditioning]:
        states, pooled, text_ids = self.pipeline.encode_prompt(
            texts, device=self.device, max_sequence_length=self.context_tokens
        )
        return by_text({PROMPT: states, _POOLED: pooled, _TEXT_IDS: text_ids.expand(len(texts), -1, -1)})

    def _is_guided(self, record: GenerationRecord) -> bool:  # noqa: ARG002
        return False

    def _further_conditioning(self, record: GenerationRecord, dtype: torch.dtype) -> Conditioning:
        ids = {_IMAGE_IDS: self.pipeline._prepare_latent_image_ids(1, *self._patches(record), self.device, dtype)}
        if not self.takes_guidance_scale:
            return ids
        return ids | {_SCALE: torch.tensor(record.guidance_scale, dtype=torch.float32, device=self.device)}

    def _patches(self, record: GenerationRecord) -> tuple[int, int]:
        """Rows and columns of packed latents."""
        return record.height_pixels // self.size_multiple_pixels, record.width_pixels // self.size_multiple_pixels

    def _timestep_arguments(self, record: GenerationRecord, scheduler: Any) -> dict[str, Any]:
        config = scheduler.config
        rows, columns = self._patches(record)
        # Larger pictures stay at high noise for longer.
        shift = calculate_shift(
            rows * columns,
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        if config.get("use_flow_sigmas"):
            return super()._timestep_arguments(record, scheduler) | {"mu": shift}
        return {"sigmas": np.linspace(1.0, 1 / record.steps, record.steps), "mu": shift}

    def _noise(self, record: GenerationRecord, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
        """Noise [patches, channels] of unit variance on the CPU."""
        drawn = super()._noise(record, dtype, generator)
        packed: torch.Tensor = self.pipeline._pack_latents(drawn[None], 1, *drawn.shape)
        return packed[0]

    @property
    def _channels(self) -> int:
        return int(self.pipeline.transformer.config.in_channels) // 4
