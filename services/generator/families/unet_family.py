"""What families with a UNet share: a consistency-distilled one is told the guidance scale, and not guided by a pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from services.generator.domain import GenerationRecord
from services.generator.families.base import Conditioning, Denoising
from services.generator.families.image_to_image import ImageToImageFamily
from services.generator.families.pipeline_family import told

_SCALE = "timestep_cond"


class UNetFamily(ImageToImageFamily):
    """A pipeline whose denoiser is its `unet`."""

    def _told_scales(self, batch: Sequence[Denoising]) -> torch.Tensor | None:
        """Embedded guidance scales [B, channels], for a UNet that is told them."""
        return told(batch, _SCALE) if self._is_told_scale else None

    def _is_guided(self, record: GenerationRecord) -> bool:
        return super()._is_guided(record) and not self._is_told_scale

    @property
    def _is_told_scale(self) -> bool:
        # As consistency-distilled denoisers are; those are not guided by a second pass.
        return self.pipeline.unet.config.time_cond_proj_dim is not None

    def _further_conditioning(self, record: GenerationRecord, dtype: torch.dtype) -> Conditioning:
        if not self._is_told_scale:
            return {}
        embedded = self.pipeline.get_guidance_scale_embedding(
            torch.tensor([record.guidance_scale - 1]), embedding_dim=self.pipeline.unet.config.time_cond_proj_dim
        )
        return {_SCALE: embedded[0].to(self.device, dtype)}

    @property
    def _channels(self) -> int:
        return int(self.pipeline.unet.config.in_channels)
