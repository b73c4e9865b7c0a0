"""PSNR, SSIM and MS-SSIM: metrics of the pixel pair alone.

ssim: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity": Gaussian window of
11 x 11 with sigma 1.5, population covariance, K1 = .01, K2 = .03, mean over the three color channels. Only windows that
lie whole within the picture count, as in the authors' code and scikit-image; torchmetrics counts mirrored borders too.
Range -1..1, 1 for identical pictures; normalized = max(0, raw), as values below 0 mean inverted structure. Its local
values are means over the windows of each cell.

ms-ssim: Wang et al. 2003, "Multi-scale structural similarity for image quality assessment": the contrast-structure term
of SSIM at four scales, each half the last by 2 x 2 averages, and SSIM at the fifth, multiplied with the paper's weights
as exponents; terms below 0 count as 0. Each channel by itself, then their mean, as in piq and TensorFlow; torchmetrics
averages the channels first, and counts mirrored borders at the fifth scale. The window must fit into the fifth scale,
so a side below 176 pixels is stretched to 176. Range 0..1; normalized = raw.

psnr: 10 log10(255^2 / mean squared error) in dB over all channels. It is infinite for identical pictures, so it is
capped at 100 dB. normalized = min(raw / 50, 1): from 50 dB on, 8-bit pictures cannot be told apart.

All are symmetric for pictures of one size; sizes are made equal by the rule in `pictures.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from services.scorer.metrics.base import MetricInput, MetricSpec, PairMetric, Value
from services.scorer.pictures import PAIR_PREPROCESSING, Picture, Size, compared_size, made_once

WINDOW_PIXELS = 11
WINDOW_SIGMA = 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
GRAY = 127.5
"""Taken from all pixels, so that squares stay small enough for float32; put back where the mean itself counts."""
CELLS_SIDE = 8
"""The grid of local values has 8 x 8 cells."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
PSNR_CAP_DB = 100.0
PSNR_INDISTINGUISHABLE_DB = 50.0
LICENSE = "Apache-2.0"


class Psnr(PairMetric):
    """Peak signal-to-noise ratio."""

    def __init__(self) -> None:
        super().__init__(_spec("psnr", "Peak signal-to-noise ratio in dB, capped at 100.", 0.0, PSNR_CAP_DB))

    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        """Peak signal-to-noise ratio in dB, 0..100."""
        size = compared_size(target.size, 1)
        raws = (_psnr(target.array(size), candidate.array(size)) for candidate in candidates)
        return [Value(raw, min(raw / PSNR_INDISTINGUISHABLE_DB, 1.0)) for raw in raws]


class Ssim(PairMetric):
    """Structural similarity."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        description = "Structural similarity (Wang et al. 2004), Gaussian window, mean over RGB."
        super().__init__(_spec("ssim", description, -1.0, 1.0))

    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        """Structural similarity, -1..1."""
        size = compared_size(target.size, WINDOW_PIXELS)
        found = (_terms(target, c, size, 0, self._device) for c in candidates)
        return [_ssim_value(float(terms.ssim.mean()), terms.cells) for terms in found]


class MsSsim(PairMetric):
    """Structural similarity over five scales."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        description = "Multi-scale structural similarity (Wang et al. 2003), five scales, mean over RGB."
        super().__init__(_spec("ms-ssim", description, 0.0, 1.0))

    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        """Multi-scale structural similarity, 0..1."""
        coarsest = len(SCALE_WEIGHTS) - 1
        size = compared_size(target.size, WINDOW_PIXELS << coarsest)
        values = []
        for candidate in candidates:
            scales = [_terms(target, candidate, size, scale, self._device) for scale in range(coarsest + 1)]
            factors = torch.stack([*(terms.structure for terms in scales[:-1]), scales[-1].ssim])  # [scales, 3]
            weights = torch.tensor(SCALE_WEIGHTS, dtype=factors.dtype).unsqueeze(1)
            raw = float(factors.clamp_min(0).pow(weights).prod(dim=0).mean())
            values.append(Value(raw, raw))
        return values


@dataclass(frozen=True, eq=False)
class _Moments:
    """Pixels of a picture at one scale, less GRAY, with mean and variance of every window; each [1, 3, H, W]."""

    pixels: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Terms:
    """SSIM and its contrast-structure term of each channel, [3] float64, and SSIM in each cell of the grid, [64]."""

    ssim: torch.Tensor
    structure: torch.Tensor
    cells: torch.Tensor


def _terms(target: Picture, candidate: Picture, size: Size, scale: int, device: torch.device) -> _Terms:
    """Once for both metrics; the target's moments once for all candidates."""

    def compare(_: Sequence[Picture]) -> list[_Terms]:
        (a,) = made_once(("moments", size, scale), [target], lambda _: [_moments(target, size, scale, device)])
        b = _moments(candidate, size, scale, device)
        # In place where it can be: new tensors of this size cost as much as what is computed in them.
        covariance = _windows(a.pixels * b.pixels).sub_(a.mean * b.mean)
        structure = covariance.mul_(2).add_(C2).div_((a.variance + b.variance).add_(C2))
        mean_a, mean_b = a.mean + GRAY, b.mean + GRAY
        luminance = (mean_a * mean_b).mul_(2).add_(C1)
        values = luminance.div_(mean_a.square_().add_(mean_b.square_()).add_(C1)).mul_(structure)
        cells = functional.adaptive_avg_pool2d(values, CELLS_SIDE).mean(dim=1).flatten().double().cpu()
        ssim, structure = ((x.mean(dim=(0, 2, 3)).double().cpu()) for x in (values, structure))
        return [_Terms(ssim, structure, cells)]

    with torch.inference_mode():
        return made_once(("ssim terms", target.pixel_hash, size, scale), [candidate], compare)[0]


def _moments(picture: Picture, size: Size, scale: int, device: torch.device) -> _Moments:
    pixels = torch.tensor(picture.array(size)[np.newaxis], device=device).permute(0, 3, 1, 2) - GRAY
    if scale:
        pixels = functional.avg_pool2d(pixels, 1 << scale)
    mean = _windows(pixels)
    return _Moments(pixels, mean, _windows(pixels.square()).sub_(mean.square()))


def _windows(maps: torch.Tensor) -> torch.Tensor:
    """Gaussian mean [1, 3, H - 10, W - 10] of every window that lies whole within the maps [1, 3, H, W].

    The maps lie channels last, as pixels do, which takes a fifth of the time of the other order on a CPU.
    """
    steps = torch.arange(WINDOW_PIXELS, dtype=torch.float64) - WINDOW_PIXELS // 2
    weights = torch.exp(-(steps**2) / (2 * WINDOW_SIGMA**2))
    weights = (weights / weights.sum()).to(maps)
    channels = maps.shape[1]
    rows = functional.conv2d(maps, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def _ssim_value(raw: float, cells: torch.Tensor) -> Value:
    return Value(raw, max(0.0, raw), tuple(cells.clamp_min(0).tolist()))


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    difference = a.astype(np.int16) - b.astype(np.int16)
    error = float(np.mean(np.square(difference, dtype=np.int32), dtype=np.float64))
    return PSNR_CAP_DB if error == 0 else min(PSNR_CAP_DB, 10 * math.log10(255**2 / error))


def _spec(id_: str, description: str, minimum: float, maximum: float) -> MetricSpec:
    return MetricSpec(
        id=id_,
        revision="likeness-1",
        description=description,
        input=MetricInput.IMAGE_IMAGE,
        higher_is_better=True,
        minimum=minimum,
        maximum=maximum,
        preprocessing=PAIR_PREPROCESSING,
        license=LICENSE,
    )
