"""Six metrics the usual way: each package called for each pair, from the files, as its README shows.

Where a README computes gradients that nobody asked for, they are left out here, which favors this side. Weights are
random: time does not depend on them, and both sides have the same.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import imagehash
import lpips
import numpy as np
import open_clip
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch import nn
from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

METRICS = ("lpips-alex", "clip-b32", "dinov2-b", "phash", "ssim", "whash")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True, eq=False)
class Networks:
    """The three networks, with the preprocessing of their authors."""

    lpips: Any
    """lpips.LPIPS on AlexNet, the package's own heads."""
    clip: Any
    clip_preprocess: Any
    dino: Any
    dino_processor: Any

    @property
    def alex(self) -> nn.Sequential:
        """AlexNet's convolutional part as torchvision has it; shares its weights with `lpips`."""
        slices = (getattr(self.lpips.net, f"slice{number}") for number in range(1, 6))
        return nn.Sequential(*(layer for part in slices for layer in part))


def networks() -> Networks:
    """CLIP ViT-B/32, DINOv2-base and LPIPS of AlexNet in float32 on the CPU, with random weights."""
    torch.manual_seed(0)
    clip, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32", pretrained=None)
    dino = Dinov2Model(Dinov2Config(image_size=518, patch_size=14))
    processor = BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, image_mean=MEAN, image_std=STD
    )
    metric = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    return Networks(metric.eval(), clip.eval(), preprocess, dino.eval(), processor)


def score_pair(models: Networks, target: bytes, candidate: bytes) -> dict[str, float]:
    """Raw values of METRICS for one pair of PNG files."""
    with torch.no_grad():
        return {
            "lpips-alex": float(
                models.lpips(*(lpips.im2tensor(np.asarray(_open(one))) for one in (target, candidate)))
            ),
            "clip-b32": _cosine(*(_clip(models, one) for one in (target, candidate))),
            "dinov2-b": _cosine(*(_dino(models, one) for one in (target, candidate))),
            "phash": float(imagehash.phash(_open(target)) - imagehash.phash(_open(candidate))),
            "ssim": _ssim(_open(target), _open(candidate)),
            "whash": float(imagehash.whash(_open(target)) - imagehash.whash(_open(candidate))),
        }


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _clip(models: Networks, data: bytes) -> torch.Tensor:
    return models.clip.encode_image(models.clip_preprocess(_open(data)).unsqueeze(0))


def _dino(models: Networks, data: bytes) -> torch.Tensor:
    inputs = models.dino_processor(images=_open(data), return_tensors="pt")
    return models.dino(**inputs).last_hidden_state.mean(dim=1)


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(nn.functional.cosine_similarity(a, b))


def _ssim(a: Image.Image, b: Image.Image) -> float:
    return float(
        structural_similarity(
            np.asarray(a),
            np.asarray(b),
            channel_axis=2,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
