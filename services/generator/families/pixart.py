"""PixArt-Sigma and PixArt-Alpha: T5 with a mask, a transformer that may predict its variance, guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import PixArtAlphaPipeline
from PIL import Image

from services.generator.domain import GenerationRecord
from services.generator.families import guidance
from services.generator.families.base import Conditioning, Denoising
from services.generator.families.pipeline_family import (
    PROMPT,
    PipelineFamily,
    by_text,
    next_timesteps,
    scaled_latents,
    told,
)

_MASK, _RESOLUTION, _ASPECT_RATIO = "prompt_attention_mask", "resolution", "aspect_ratio"
_ALPHA_TOKENS, _SIGMA_TOKENS = 120, 300
_ALPHA_SIDE_WITH_SIZE = 128
"""Latent side of the one Alpha model that is told the size of the picture."""


class PixArt(PipelineFamily):
    """A PixArtSigmaPipeline or PixArtAlphaPipeline; pictures get the size asked for, not the nearest trained one."""

    _needed_parts = ("tokenizer", "text_encoder")

    def __init__(self, pipeline: Any, **options: Any) -> None:
        super().__init__(pipeline, **options)
        self._is_alpha = isinstance(pipeline, PixArtAlphaPipeline)
        self._is_told_size = self._is_alpha and pipeline.transformer.config.sample_size == _ALPHA_SIDE_WITH_SIZE

    @property
    def context_tokens(self) -> int:
        """Tokens of a prompt that the text encoder reads, marks included."""
        return _ALPHA_TOKENS if self._is_alpha else _SIGMA_TOKENS

    @property
    def size_multiple_pixels(self) -> int:
        """Sides of pictures are multiples of it: the transformer takes latents in patches."""
        return int(self.pipeline.vae_scale_factor * self.pipeline.transformer.config.patch_size)

    def _predict(self, batch: Sequence[Denoising]) -> torch.Tensor:
        """Guided model output [B, C, H, W], without the variance."""
        config = self.pipeline.transformer.config
        output: torch.Tensor = self.pipeline.transformer(
            guidance.both(batch, scaled_latents(batch)),
            encoder_hidden_states=guidance.rows(batch, PROMPT),
            encoder_attention_mask=guidance.rows(batch, _MASK),
            timestep=guidance.both(batch, next_timesteps(batch)),
            added_cond_kwargs={name: self._size_rows(batch, name) for name in (_RESOLUTION, _ASPECT_RATIO)},
            return_dict=False,
        )[0]
        guided = guidance.combine(batch, output)
        return guided.chunk(2, dim=1)[0] if config.out_channels // 2 == self._channels else guided

    def _decode(self, batch: Sequence[Denoising]) -> list[Image.Image | None]:
        """RGB pictures of finished latents. There is no safety checker."""
        vae = self.pipeline.vae
        latents = torch.stack([one.latents for one in batch]).to(vae.dtype)
        decoded = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        return self._pictures(decoded)

    def _encode(self, texts: list[str]) -> list[Conditioning]:
        # Captions are not cleaned: that needs packages which may be missing, and a seed's picture would hang on them.
        states, mask, _, _ = self.pipeline.encode_prompt(
            texts,
            do_classifier_free_guidance=False,
            device=self.device,
            clean_caption=False,
            max_sequence_length=self.context_tokens,
        )
        return by_text({PROMPT: states, _MASK: mask})

    def _size_rows(self, batch: Sequence[Denoising], name: str) -> torch.Tensor | None:
        if not self._is_told_size:
            return None
        return guidance.both(batch, told(batch, name))

    def _further_conditioning(self, record: GenerationRecord, dtype: torch.dtype) -> Conditioning:
        if not self._is_told_size:
            return {}
        height, width = record.height_pixels, record.width_pixels
        return {
            _RESOLUTION: torch.tensor([height, width], dtype=dtype, device=self.device),
            _ASPECT_RATIO: torch.tensor([height / width], dtype=dtype, device=self.device),
        }

    @property
    def _channels(self) -> int:
        return int(self.pipeline.transformer.config.in_channels)
