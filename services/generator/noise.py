"""Initial noise as a mix of seeds' noises.

A sum of independent normal noises with weights w, divided by sqrt(sum w^2), is normal noise again. So a picture can be
varied by a little of another seed, and the noises of several pictures can be recombined, while a few numbers a part say
how to make the same noise again. The weights may differ from place to place, as each place's noise is independent of
the others': a picture's left half can come from one seed's noise and its right half from another's.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from services.generator.domain import GenerationRecord, NoisePart

_LEAST_NORM = 1e-6


def draw(
    record: GenerationRecord, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    """Initial noise of a picture on the CPU, of unit variance.

    Args:
        record: Says which seeds' noises are mixed, if any are.
        shape: [C, H, W] of the latents.
        dtype: What the denoiser computes in.
        generator: On the CPU and seeded by the record's seed. It draws the noise of a record without a mix, as
            pipelines have it; a mix leaves it as it is.
    """
    if not record.noise_mix:
        return torch.randn(shape, generator=generator, dtype=dtype)
    total = torch.zeros(shape, dtype=torch.float32)
    squares = torch.zeros(shape[1:], dtype=torch.float64)
    for part in record.noise_mix:
        weight = _weight(part, shape[1:])
        drawn = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(part.seed), dtype=dtype)
        total += weight.float() * drawn.float()
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
