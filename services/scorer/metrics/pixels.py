"""SSIM and PSNR: metrics of the pixel pair alone.

ssim: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity": Gaussian window of
11 x 11 with sigma 1.5, population covariance, K1 = .01, K2 = .03, mean over the three color channels, by scikit-image.
Only windows that lie whole within the picture count, as in the authors' code; torchmetrics counts mirrored borders too.
Range -1..1, 1 for identical pictures; normalized = max(0, raw), as values below 0 mean inverted structure.

psnr: 10 log10(255^2 / mean squared error) in dB over all channels. It is infinite for identical pictures, so it is
capped at 100 dB. normalized = min(raw / 50, 1): from 50 dB on, 8-bit pictures cannot be told apart.

Both are symmetric for pictures of one size; sizes are made equal by the rule in `pictures.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from services.scorer.metrics.base import MetricInput, MetricSpec, PairMetric, Value
from services.scorer.pictures import PAIR_PREPROCESSING, Picture, compared_size

SSIM_WINDOW_PIXELS = 11
PSNR_CAP_DB = 100.0
PSNR_INDISTINGUISHABLE_DB = 50.0

Pixels = NDArray[np.uint8]


class Ssim(PairMetric):
    """Structural similarity."""

    def __init__(self) -> None:
        super().__init__(
            MetricSpec(
                id="ssim",
                revision=f"scikit-image-{version('scikit-image')}",
                description="Structural similarity (Wang et al. 2004), Gaussian window, mean over RGB.",
                input=MetricInput.IMAGE_IMAGE,
                higher_is_better=True,
                minimum=-1.0,
                maximum=1.0,
                preprocessing=PAIR_PREPROCESSING,
                license="BSD-3-Clause",
            )
        )

    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        """Structural similarity, -1..1."""
        size = compared_size(target.size, SSIM_WINDOW_PIXELS)
        raws = (_ssim(target.array(size), candidate.array(size)) for candidate in candidates)
        return [Value(raw, max(0.0, raw)) for raw in raws]


class Psnr(PairMetric):
    """Peak signal-to-noise ratio."""

    def __init__(self) -> None:
        super().__init__(
            MetricSpec(
                id="psnr",
                revision="likeness-1",
                description="Peak signal-to-noise ratio in dB, capped at 100.",
                input=MetricInput.IMAGE_IMAGE,
                higher_is_better=True,
                minimum=0.0,
                maximum=PSNR_CAP_DB,
                preprocessing=PAIR_PREPROCESSING,
                license="Apache-2.0",
            )
        )

    def score(self, target: Picture, candidates: Sequence[Picture]) -> list[Value]:
        """Peak signal-to-noise ratio in dB, 0..100."""
        size = compared_size(target.size, 1)
        raws = (_psnr(target.array(size), candidate.array(size)) for candidate in candidates)
        return [Value(raw, min(raw / PSNR_INDISTINGUISHABLE_DB, 1.0)) for raw in raws]


def _ssim(a: Pixels, b: Pixels) -> float:
    value = structural_similarity(  # type: ignore[no-untyped-call]
        a, b, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(value)


def _psnr(a: Pixels, b: Pixels) -> float:
    difference = a.astype(np.int16) - b.astype(np.int16)
    error = float(np.mean(np.square(difference, dtype=np.int32), dtype=np.float64))
    return PSNR_CAP_DB if error == 0 else min(PSNR_CAP_DB, 10 * math.log10(255**2 / error))
