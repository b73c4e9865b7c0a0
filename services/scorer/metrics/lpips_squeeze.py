"""lpips-squeeze: Learned Perceptual Image Patch Similarity on SqueezeNet 1.1, version 0.1 of the linear heads.

LPIPS is linear in its heads: d = w . v, where v holds, per channel over all seven layers (2,240 in all), the spatial
mean of the squared difference of unit-normalized features. So v is computed once per pair and every set of heads is one
dot product. Network class, heads and normalization are those of the `lpips` package.

Raw value: 0 for identical pictures, grows without a fixed bound, rarely above 1; normalized = max(0, 1 - raw), so the
adjusted score is LPIPS itself. Symmetric for pictures of one size; sizes are made equal by the rule in `pictures.py`.
Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import lpips
import numpy as np
import torch

from services.common.errors import Reason, UnavailableError
from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import lpips_weights
from services.scorer.metrics.base import MetricInput, MetricSpec, PairMetric, Value
from services.scorer.pictures import PAIR_PREPROCESSING, Picture, Size, compared_size

ID = "lpips-squeeze"
MIN_SIDE_PIXELS = 32
"""SqueezeNet pools a smaller picture (from 16 pixels on) away."""
BATCH_PIXELS = 2 * 1024 * 1024
"""Most pixels in one forward pass: about 300 MB of features."""
CACHE_BYTES = 256 * 1024 * 1024

Pyramid = tuple[torch.Tensor, ...]
"""Unit-normalized features [N, C, H, W] of each layer."""


class LpipsSqueeze(PairMetric):
    """LPIPS of a target and N candidates in N + 1 backbone passes; N when the target was seen lately."""

    def __init__(self, network: lpips.LPIPS, device: torch.device) -> None:
        """Takes the `lpips` package's network with the weights to use."""
        network = network.to(device).eval().requires_grad_(False)
        super().__init__(
            MetricSpec(
                id=ID,
                revision=compute.weights_revision(network),
                description="LPIPS v0.1 on SqueezeNet 1.1: learned perceptual distance.",
                input=MetricInput.IMAGE_IMAGE,
                higher_is_better=False,
                minimum=0.0,
                maximum=None,
                preprocessing=PAIR_PREPROCESSING,
                license="BSD-2-Clause AND BSD-3-Clause",
                embedded=False,
            )
        )
        self._network: Any = network
        self._device = device
        self._heads = torch.cat([head.model[-1].weight.flatten() for head in network.lins]).double()
        self._targets = PyramidCache(CACHE_BYTES)

    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        """LPIPS distances, from 0."""
        size = compared_size(target.size, MIN_SIDE_PIXELS)
        at_once = max(1, BATCH_PIXELS // (size[0] * size[1]))
        values: list[Value] = []
        with torch.inference_mode():
            reference = self._target_pyramid(target, size)
            for start in range(0, len(candidates), at_once):
                pyramid = self._pyramid(candidates[start : start + at_once], size)
                distances = layer_differences(reference, pyramid).double() @ self._heads
                values += [Value(raw, max(0.0, 1.0 - raw)) for raw in distances.tolist()]
        return values

    def _target_pyramid(self, target: Picture, size: Size) -> Pyramid:
        pyramid = self._targets.get(target.pixel_hash)
        if pyramid is None:
            pyramid = self._pyramid([target], size)
            self._targets.put(target.pixel_hash, pyramid)
        return pyramid

    def _pyramid(self, pictures: Sequence[Picture], size: Size) -> Pyramid:
        stacked = torch.from_numpy(np.stack([picture.array(size) for picture in pictures]))
        # The package's own scale: 8-bit values to -1..1.
        pixels = stacked.to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        layers = self._network.net(self._network.scaling_layer(pixels))
        return tuple(lpips.normalize_tensor(layer) for layer in layers)


class PyramidCache:
    """Feature pyramids of the targets used last, by pixel hash, within a bound of memory."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, Pyramid] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, pixel_hash: str) -> Pyramid | None:
        """The pyramid, or None; marks it as used."""
        with self._lock:
            if pixel_hash in self._entries:
                self._entries.move_to_end(pixel_hash)
            return self._entries.get(pixel_hash)

    def put(self, pixel_hash: str, pyramid: Pyramid) -> None:
        """Keeps a pyramid and drops the ones unused for longest; one over the bound is not kept."""
        size = _bytes_of(pyramid)
        with self._lock:
            if pixel_hash in self._entries or size > self._max_bytes:
                return
            self._entries[pixel_hash] = pyramid
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self._bytes -= _bytes_of(dropped)


def layer_differences(target: Pyramid, candidates: Pyramid) -> torch.Tensor:
    """v [N, channels of all layers]: spatial mean of the squared feature difference to the one target."""
    return torch.cat([((a - b) ** 2).mean(dim=(2, 3)) for a, b in zip(target, candidates, strict=True)], dim=1)


def build(settings: Settings) -> LpipsSqueeze:
    """Loads the metric.

    Raises:
        UnavailableError: there are no weights, or they are not SqueezeNet 1.1's.
    """
    path = lpips_weights.find(settings)
    features = lpips_weights.load(path)
    with warnings.catch_warnings():
        # The package calls torchvision by its old argument names.
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="squeeze", version="0.1", pnet_rand=True, verbose=False)
    # The package names a layer slice2.3.squeeze.weight where torchvision says 3.squeeze.weight.
    names = {name: name.partition(".")[2] for name in network.net.state_dict()}
    missing = sorted(set(names.values()) - features.keys())
    unexpected = sorted(features.keys() - set(names.values()))
    if missing or unexpected:
        problem = f"missing {missing[:3]}, unexpected {unexpected[:3]}"
        message = f"{ID}: {path.name} does not hold SqueezeNet 1.1's features: {problem}"
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, message)
    network.net.load_state_dict({name: features[source] for name, source in names.items()})
    return LpipsSqueeze(network, compute.device_of(settings))


def _bytes_of(pyramid: Pyramid) -> int:
    return sum(layer.element_size() * layer.nelement() for layer in pyramid)
