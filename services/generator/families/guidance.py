"""Classifier-free guidance in one denoiser call for pictures that each have a scale of their own, or none.

The call's rows are the unconditional halves of the guided pictures and then the conditional ones of all pictures:
G + B rows for B pictures of which G are guided.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from services.generator.families.base import Conditioning, Denoising

_HALF = "unconditional_"
_SCALE = "guidance_scale"


def unconditional(conditioning: Conditioning, scale: float, device: torch.device) -> Conditioning:
    """What makes a picture a guided one, to be added to its conditioning: the other half, under names of its own."""
    return {
        **{_HALF + name: tensor for name, tensor in conditioning.items()},
        # On the device from the start: copying it at every step would keep the host waiting.
        _SCALE: torch.tensor(scale, dtype=torch.float32, device=device),
    }


def rows(batch: Sequence[Denoising], name: str) -> torch.Tensor:
    """Conditioning of a name [G + B, ...] that the two halves of a picture differ in."""
    halves = [one.conditioning[_HALF + name] for one in batch if _is_guided(one)]
    return torch.stack([*halves, *(one.conditioning[name] for one in batch)])


def both(batch: Sequence[Denoising], values: torch.Tensor) -> torch.Tensor:
    """Values [B, ...] that the two halves of a picture share, as rows [G + B, ...]."""
    guided = [index for index, one in enumerate(batch) if _is_guided(one)]
    halves = values if len(guided) == len(batch) else values[guided]
    return torch.cat([halves, values])


def combine(batch: Sequence[Denoising], output: torch.Tensor) -> torch.Tensor:
    """Guided model output [B, ...] from that of the rows [G + B, ...]."""
    scales = [one.conditioning[_SCALE] for one in batch if _is_guided(one)]
    halves, conditional = output[: len(scales)], output[len(scales) :]
    if not scales:
        return conditional
    if len(scales) < len(batch):
        # To an unguided picture its conditional half is both: the direction is zero, whatever it is scaled by.
        places, own_scales = itertools.count(), iter(scales)
        guided = [_is_guided(one) for one in batch]
        halves = output[[next(places) if is_one else len(scales) + at for at, is_one in enumerate(guided)]]
        scales = [next(own_scales) if is_one else scales[0] for is_one in guided]
    direction = conditional - halves
    # Multiplied in float32 and rounded once, as by the Python number of the stock pipelines.
    scaled = torch.stack(scales).view(-1, *[1] * (direction.ndim - 1)) * direction
    return halves + scaled.to(output.dtype)


def _is_guided(one: Denoising) -> bool:
    return _SCALE in one.conditioning
