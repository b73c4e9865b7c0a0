"""Initial noise as a mix of seeds' noises.

A sum of independent normal noises with weights w, divided by sqrt(sum w^2), is normal noise again. So a picture can be
varied by a little of another seed, and the noises of several pictures can be recombined, while a few numbers a part say
how to make the same noise again. The weights may differ from place to place, as each place's noise is independent of
the others': a picture's left half can come from one seed's noise and its right half from another's.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from services.generator.domain import GenerationRecord, NoisePart

_LEAST_NORM = 1e-6


def takes_mix(pipeline: Any) -> bool:
    """Whether the pipeline starts from one latent tensor [B, C, H, W] that a caller may give."""
    has_unet = hasattr(getattr(pipeline, "unet", None), "config") and hasattr(pipeline, "vae_scale_factor")
    return has_unet and "latents" in inspect.signature(pipeline.__call__).parameters


def initial(pipeline: Any, records: Sequence[GenerationRecord]) -> torch.Tensor | None:
    """Noise [B, C, H, W] of records of one size; None if no record asks for a mix, so that the pipeline draws its own.

    A record without a mix gets exactly what the pipeline would draw from its seed, whatever its batch mates ask for.
    """
    if not any(record.noise_mix for record in records):
        return None
    factor = pipeline.vae_scale_factor
    first = records[0]
    shape = (1, pipeline.unet.config.in_channels, first.height_pixels // factor, first.width_pixels // factor)
    return torch.cat([_mixed(record, shape, pipeline.unet.dtype) for record in records])


def _mixed(record: GenerationRecord, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    if not record.noise_mix:
        return _drawn(record.seed, shape, dtype)
    total = torch.zeros(shape, dtype=torch.float32)
    squares = torch.zeros(shape[2:], dtype=torch.float64)
    for part in record.noise_mix:
        weight = _weight(part, shape[2:])
        total += weight.float() * _drawn(part.seed, shape, dtype).float()
        squares += weight**2
    # Between two cells weights of both signs may meet at 0.
    return (total / squares.sqrt().clamp_min(_LEAST_NORM).float()).to(dtype)


def _weight(part: NoisePart, shape: tuple[int, ...]) -> torch.Tensor:
    """Weight [H, W] float64 of a part at every place."""
    if not part.cells:
        return torch.full(shape, part.weight, dtype=torch.float64)
    side = math.isqrt(len(part.cells))
    cells = torch.tensor(part.cells, dtype=torch.float64).view(1, 1, side, side)
    return part.weight * functional.interpolate(cells, size=shape, mode="bilinear")[0, 0]


def _drawn(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    # As diffusers' randn_tensor does for a generator on the CPU.
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=dtype)
