"""Aligning the denoiser's features with the embedded CLIP's: it learns earlier what things look like.

Beside the velocity, the features behind the denoiser's lowest level shall tell, at each place, what the frozen CLIP
sees there in the finished picture (representation alignment, REPA, arXiv 2410.06940). The projection that does so is
dropped after training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.nn import functional

from world.training import data
from world.training.clip_io import normalise
from world.training.common import WORK, half_precision

WEIGHT = 0.5
"""Of the alignment beside the velocity's squared error."""
_HIDDEN = 256


@torch.no_grad()
def targets(clip: open_clip.CLIP, drawings: data.Drawings, count: int, on: torch.device) -> np.ndarray:
    """Maps of the CLIP's third layer, float16 [N, C, 6, 6] (memmap), of the first drawings; kept on disk."""
    path = WORK / "clip_maps.npy"
    if not path.is_file():
        visual: Any = clip.visual.to(on)
        partial, maps = path.with_suffix(".partial.npy"), None
        for start in range(0, count, 200):
            pictures = drawings.batch(torch.arange(start, min(start + 200, count))).to(on)
            with half_precision(on):
                seen = visual.layer3(visual.layer2(visual.layer1(visual.stem(normalise(pictures)))))
            if maps is None:
                maps = np.lib.format.open_memmap(partial, "w+", np.float16, (count, *seen.shape[1:]))
            maps[start : start + len(seen)] = seen.float().half().cpu().numpy()
        partial.replace(path)
    return np.load(path, mmap_mode="r")


class Alignment(nn.Module):
    """Reads the denoiser's features of its last forward pass, and says how far they are from the targets."""

    def __init__(self, unet: UNet2DConditionModel, channels: int) -> None:
        """Takes the denoiser, whose first upward block is listened to, and the channels of the targets."""
        super().__init__()
        width = unet.config.block_out_channels[-1]
        self.project = nn.Sequential(nn.Conv2d(width, _HIDDEN, 1), nn.SiLU(), nn.Conv2d(_HIDDEN, channels, 1))
        self._features: torch.Tensor | None = None
        unet.up_blocks[0].register_forward_hook(self._listen)

    def _listen(self, _block: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        self._features = output

    def loss(self, maps: torch.Tensor) -> torch.Tensor:
        """One minus the mean cosine over all places.

        Args:
            maps: Targets float [B, C, 6, 6] of the pictures of the last forward pass.
        """
        assert self._features is not None
        told = functional.interpolate(self.project(self._features.float()), maps.shape[-2:], mode="area")
        self._features = None
        return 1 - functional.cosine_similarity(told, maps, dim=1).mean()
