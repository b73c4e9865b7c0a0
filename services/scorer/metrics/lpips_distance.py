"""LPIPS v0.1: Learned Perceptual Image Patch Similarity on AlexNet, VGG16 and SqueezeNet 1.1.

LPIPS is linear in its heads: d = w . v, where v holds, per channel over all layers (1,152 for AlexNet, 1,472 for VGG16,
2,240 for SqueezeNet), the spatial mean of the squared difference of unit-normalized features. So v is computed once per
pair, and every set of heads, such as a personal one, is one dot product. Heads and normalization are those of the
`lpips` package; backbones are torchvision's (`imagenet.py`).

Raw value: 0 for identical pictures, grows without a fixed bound, rarely above 1; normalized = max(0, 1 - raw), so the
adjusted score is LPIPS itself. Symmetric for pictures of one size; sizes are made equal by the rule in `pictures.py`.
Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from services.common.heads import Backbone, Head, head_of
from services.scorer import compute
from services.scorer.metrics import checkpoints, imagenet
from services.scorer.metrics.base import MetricInput, MetricSpec, PairMetric, Value
from services.scorer.metrics.pyramids import Pyramid, PyramidCache
from services.scorer.pictures import PAIR_PREPROCESSING, Picture, Size, compared_size, made_once

MIN_SIDE_PIXELS = 32
"""The backbones pool a smaller picture (from 16 pixels on) away."""
CACHE_BYTES = 256 * 1024 * 1024

Vectors = NDArray[np.float32]
"""v [N, channels of all layers] of N pairs."""


@dataclass(frozen=True)
class Network:
    """One of the three published networks."""

    id: str
    name: str
    backbone: imagenet.Backbone
    heads: str
    """File name of the heads in the `lpips` package."""
    taps: tuple[int, ...]
    """Layers of the backbone after which features are taken, counted from 1."""
    batch_pixels: int
    """Most pixels in one forward pass: 300 to 500 MB of features."""


ALEX = Network("lpips-alex", "AlexNet", imagenet.ALEXNET, "alex", (2, 5, 8, 10, 12), 4 * 1024 * 1024)
VGG = Network("lpips-vgg", "VGG16", imagenet.VGG16, "vgg", (4, 9, 16, 23, 30), 512 * 1024)
SQUEEZE = Network(
    "lpips-squeeze", "SqueezeNet 1.1", imagenet.SQUEEZENET, "squeeze", (2, 5, 8, 10, 11, 12, 13), 2 * 1024 * 1024
)
NETWORKS = (ALEX, VGG, SQUEEZE)


class Lpips(PairMetric):
    """LPIPS of a target and N candidates in N + 1 backbone passes; N when the target was seen lately."""

    def __init__(self, network: Network, features: nn.Sequential) -> None:
        """Takes the backbone's convolutional part with the weights, device and number type to use."""
        parameter = next(features.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._network = network
        self._layers: Any = features[: network.taps[-1]]
        self._scale: Any = lpips.ScalingLayer().to(self._device)
        self._targets = PyramidCache(CACHE_BYTES)
        by_layer = published_heads(network)
        heads = torch.cat(by_layer)
        self.heads: NDArray[np.float64] = heads.double().numpy()
        """w [channels of all layers]: the published weights, none below 0."""
        backbone_revision = compute.weights_revision(self._layers)
        backbone = Backbone(network.id, backbone_revision, tuple(len(layer) for layer in by_layer))
        self.head: Head = head_of(backbone, heads.numpy())
        """The same weights as a head. Its backbone names what difference vectors depend on, which no heads are."""
        super().__init__(
            MetricSpec(
                id=network.id,
                revision=_revision(self._layers, heads),
                description=f"LPIPS v0.1 on {network.name}: learned perceptual distance.",
                input=MetricInput.IMAGE_IMAGE,
                higher_is_better=False,
                minimum=0.0,
                maximum=None,
                preprocessing=PAIR_PREPROCESSING,
                license="BSD-2-Clause AND BSD-3-Clause",
                embedded=False,
            )
        )

    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        """LPIPS distances, from 0."""
        distances = self.differences(target, candidates).astype(np.float64) @ self.heads
        return [Value(raw, max(0.0, 1.0 - raw)) for raw in distances.tolist()]

    def differences(self, target: Picture, candidates: Sequence[Picture]) -> Vectors:
        """v [N, channels of all layers] of the target and each candidate; once per pair, whichever metrics ask."""
        key = (self.spec.id, self.spec.revision, target.pixel_hash)
        with torch.inference_mode():
            return np.stack(made_once(key, candidates, lambda missing: self._differences(target, missing)))

    def _differences(self, target: Picture, candidates: Sequence[Picture]) -> list[NDArray[np.float32]]:
        size = compared_size(target.size, MIN_SIDE_PIXELS)
        at_once = max(1, self._network.batch_pixels // (size[0] * size[1]))
        reference = self._target_pyramid(target, size)
        rows: list[NDArray[np.float32]] = []
        for start in range(0, len(candidates), at_once):
            features = self._features(candidates[start : start + at_once], size)
            layers = [_mean_squares(a, b) for a, b in zip(reference, features, strict=True)]
            rows += list(torch.cat(layers, dim=1).cpu().numpy())
        return rows

    def _target_pyramid(self, target: Picture, size: Size) -> Pyramid:
        pyramid = self._targets.get(target.pixel_hash)
        if pyramid is None:
            pyramid = tuple(lpips.normalize_tensor(layer) for layer in self._features([target], size))
            self._targets.put(target.pixel_hash, pyramid)
        return pyramid

    def _features(self, pictures: Sequence[Picture], size: Size) -> list[torch.Tensor]:
        """Features [N, C, H, W] of each tapped layer."""
        stacked = torch.from_numpy(np.stack([picture.array(size) for picture in pictures]))
        # The package's own scale: 8-bit values to -1..1.
        pixels = stacked.to(self._device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        out = pixels.sub_(self._scale.shift).div_(self._scale.scale).to(self._dtype)
        features = []
        for number, layer in enumerate(self._layers, 1):
            out = layer(out)
            if number in self._network.taps:
                features.append(out.float())
        return features


def _mean_squares(reference: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Spatial means of squared differences [N, C] of a normalized reference [1, C, H, W] and features [N, C, H, W]."""
    # A CPU's cache holds one picture's features, not those of all.
    at_once = 1 if features.device.type == "cpu" else len(features)
    parts = [features[start : start + at_once] for start in range(0, len(features), at_once)]
    norms = [torch.linalg.vector_norm(lpips.normalize_tensor(part).sub_(reference), dim=(2, 3)) for part in parts]
    return torch.cat(norms).square_() / (features.shape[2] * features.shape[3])


def build(backbones: imagenet.Backbones, network: Network) -> list[Lpips]:
    """Loads the metric of one network.

    Raises:
        UnavailableError: there are no weights, or they are not the network's.
    """
    return [Lpips(network, backbones.load(network.backbone))]


def published_heads(network: Network) -> list[torch.Tensor]:
    """w [channels] of each layer, float32, from the `lpips` package."""
    path = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{network.heads}.pth"
    state = checkpoints.read(checkpoints.ModelSource(network.id, str(path)), path)
    return [state[f"lin{layer}.model.1.weight"].flatten().float() for layer in range(len(network.taps))]


def _revision(layers: nn.Module, heads: torch.Tensor) -> str:
    whole = nn.ModuleDict({"features": layers})
    whole.register_buffer("heads", heads)
    return compute.weights_revision(whole)
