"""dists: Deep Image Structure and Texture Similarity, on VGG16 with L2 pooling.

Weighted similarity of the means (texture) and of the correlations (structure) of 1,475 feature maps, the picture's own
three channels among them. Raw value: 0 for identical pictures, below 1 for common pairs and never above 2; normalized =
max(0, 1 - raw). Symmetric for pictures of one size.

Size: as by the authors' `prepare_image`, the target's shorter side is reduced to 256 pixels if it is longer (Pillow's
bilinear filter, antialiased), and the candidate is brought to the same size. Weights: the authors' `weights.pt`, or
piq's `dists_weights.pt`, which holds the same `alpha` and `beta`, next to VGG16's (`imagenet.py`). Source: Ding et al.
2020, "Image Quality Assessment: Unifying Structure and Texture Similarity"; dingkeyan93/DISTS (DISTS_pt.py), MIT.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from services.common.errors import Reason, UnavailableError
from services.common.profile import models_dir
from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import checkpoints, imagenet
from services.scorer.metrics.base import MetricInput, MetricSpec, PairMetric, Value
from services.scorer.metrics.pyramids import Pyramid, PyramidCache
from services.scorer.pictures import Picture, Size

ID = "dists"
FILES = ("dists_weights.pt", "weights.pt")
PREPROCESSING = "rgb8-bilinear-to-target-256-1"
SHORTER_SIDE_PIXELS = 256
MIN_SIDE_PIXELS = 32
MAX_SIDE_PIXELS = 4096
CHANNELS = (3, 64, 128, 256, 512, 512)
TAPS = (4, 9, 16, 23, 30)
"""Layers of VGG16 after which features are taken, counted from 1."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL = 1e-6
BATCH_PIXELS = 8 * 256 * 256
"""Most pixels in one forward pass: about 500 MB of features."""
CACHE_BYTES = 256 * 1024 * 1024


class Dists(PairMetric):
    """DISTS of a target and N candidates in N + 1 backbone passes; N when the target was seen lately."""

    def __init__(self, features: nn.Sequential, alpha: torch.Tensor, beta: torch.Tensor) -> None:
        """Takes VGG16's convolutional part, and the weights of means and of correlations, [1475] each."""
        parameter = next(features.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._layers: Any = features[: TAPS[-1]]
        total = alpha.sum() + beta.sum()
        self._alpha, self._beta = ((x / total).to(self._device) for x in (alpha, beta))
        self._mean, self._std = (torch.tensor(x, device=self._device).view(1, 3, 1, 1) for x in (MEAN, STD))
        self._targets = PyramidCache(CACHE_BYTES)
        whole = nn.ModuleDict({"features": self._layers})
        whole.register_buffer("alpha", alpha)
        whole.register_buffer("beta", beta)
        super().__init__(
            MetricSpec(
                id=ID,
                revision=compute.weights_revision(whole),
                description="DISTS: deep structure and texture similarity on VGG16, as a distance.",
                input=MetricInput.IMAGE_IMAGE,
                higher_is_better=False,
                minimum=0.0,
                maximum=2.0,
                preprocessing=PREPROCESSING,
                license="MIT AND BSD-3-Clause",
                embedded=False,
            )
        )

    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        """DISTS distances, 0..2."""
        size = reduced_size(target.size)
        at_once = max(1, BATCH_PIXELS // (size[0] * size[1]))
        raws: list[float] = []
        with torch.inference_mode():
            reference = self._target_pyramid(target, size)
            for start in range(0, len(candidates), at_once):
                raws += self._distances(reference, self._pyramid(candidates[start : start + at_once], size)).tolist()
        # Rounding can take identical pictures a hair below 0.
        return [Value(max(0.0, raw), min(max(0.0, 1.0 - raw), 1.0)) for raw in raws]

    def _distances(self, target: Pyramid, candidates: Pyramid) -> torch.Tensor:
        """Distances [N] to the one target."""
        textures, structures = [], []
        for a, b in zip(target, candidates, strict=True):
            mean_a, mean_b = (x.mean(dim=(2, 3), keepdim=True) for x in (a, b))  # [1, C, 1, 1] and [N, C, 1, 1]
            variances = sum(((x - m) ** 2).mean(dim=(2, 3)) for x, m in ((a, mean_a), (b, mean_b)))
            covariance = (a * b).mean(dim=(2, 3)) - (mean_a * mean_b).flatten(1)
            textures.append(((2 * mean_a * mean_b + SMALL) / (mean_a**2 + mean_b**2 + SMALL)).flatten(1))
            structures.append((2 * covariance + SMALL) / (variances + SMALL))
        return 1 - (torch.cat(textures, dim=1) @ self._alpha + torch.cat(structures, dim=1) @ self._beta)

    def _target_pyramid(self, target: Picture, size: Size) -> Pyramid:
        pyramid = self._targets.get(target.pixel_hash)
        if pyramid is None:
            pyramid = self._pyramid([target], size)
            self._targets.put(target.pixel_hash, pyramid)
        return pyramid

    def _pyramid(self, pictures: Sequence[Picture], size: Size) -> Pyramid:
        """The pixels 0..1 and the features of each tapped layer, [N, C, H, W] float32."""
        stacked = torch.tensor(np.stack([picture.array(size, Image.Resampling.BILINEAR) for picture in pictures]))
        pixels = stacked.to(self._device).permute(0, 3, 1, 2).float() / 255
        pyramid = [pixels]
        out = ((pixels - self._mean) / self._std).to(self._dtype)
        for number, layer in enumerate(self._layers, 1):
            out = _l2_pool(out) if isinstance(layer, nn.MaxPool2d) else layer(out)
            if number in TAPS:
                pyramid.append(out.float())
        return tuple(pyramid)


def build(settings: Settings, backbones: imagenet.Backbones) -> list[Dists]:
    """Loads the metric.

    Raises:
        UnavailableError: there are no weights, or they are not DISTS's or VGG16's.
    """
    path = find(settings)
    model = checkpoints.ModelSource(ID, str(path))
    weights = nn.ParameterDict({name: torch.empty(1, sum(CHANNELS), 1, 1) for name in ("alpha", "beta")})
    checkpoints.load_strictly(model, weights, checkpoints.read(model, path))
    alpha, beta = (weights[name].detach().flatten() for name in ("alpha", "beta"))
    return [Dists(backbones.load(imagenet.VGG16), alpha, beta)]


def find(settings: Settings) -> Path:
    """Path of alpha and beta, looked for where the backbones are.

    Raises:
        UnavailableError: there are none; says which files were looked for.
    """
    folder = settings.lpips_weights_dir or models_dir(settings) / "lpips"
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    place = "LIKENESS_LPIPS_WEIGHTS_DIR" if settings.lpips_weights_dir else "models/lpips"
    raise UnavailableError(Reason.MODEL_UNAVAILABLE, f"{' or '.join(FILES)} is needed in {place}")


def reduced_size(target: Size) -> Size:
    """Size (width, height) at which a pair with this target is compared."""
    shorter = max(min(target), SHORTER_SIDE_PIXELS)
    width, height = (SHORTER_SIDE_PIXELS * side // shorter for side in target)
    return _side(width), _side(height)


def _side(length: int) -> int:
    return min(max(length, MIN_SIDE_PIXELS), MAX_SIDE_PIXELS)


def _l2_pool(maps: torch.Tensor) -> torch.Tensor:
    """Root of the Hann-weighted mean of squares, in place of VGG16's maximum: it does not alias."""
    window = torch.hann_window(5, periodic=False, dtype=maps.dtype, device=maps.device)[1:-1]
    window = torch.outer(window, window)
    kernel = (window / window.sum()).expand(maps.shape[1], 1, 3, 3)
    return (functional.conv2d(maps**2, kernel, stride=2, padding=1, groups=maps.shape[1]) + 1e-12).sqrt()
