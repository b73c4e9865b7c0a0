"""How much memory a batch takes, and how many pictures of a size fit into what is left.

A call takes a fixed part and a part for each picture, which is in proportion to its pixels: so do convolutions, and
attention that does not write its matrix out. Where a call grows faster than that, or memory goes meanwhile, the engine
halves the batch (`engine/splitter.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

RESERVED_SHARE = 0.1
"""Of the memory left, kept back for encoded prompts, latents between steps, and gaps between tensors."""


class MemoryMeter(Protocol):
    """Memory of the device that a model is on."""

    def peak_bytes(self, call: Callable[[], object]) -> int:
        """Makes a call; the most that it took at once, besides what was taken before."""
        ...

    def left_bytes(self) -> int:
        """What calls can take now, while none is under way."""
        ...


class CudaMeter:
    """Asks PyTorch's allocator and the driver. It has not run on a GPU yet: the tests have a meter of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def peak_bytes(self, call: Callable[[], object]) -> int:
        """Makes a call; what the allocator gave out for it. Nobody else may compute on the device meanwhile."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        call()
        return torch.cuda.max_memory_allocated(self._device) - before

    def left_bytes(self) -> int:
        """What is free for every process, and what the allocator has for this one and has not given out."""
        free, _ = torch.cuda.mem_get_info(self._device)
        return free + torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)


def meter_of(device: torch.device) -> MemoryMeter | None:
    """What measures the memory of a device; None for the CPU, whose memory is not the model's alone."""
    return CudaMeter(device) if device.type == "cuda" else None


@dataclass(frozen=True)
class CallMemory:
    """What one kind of call takes at a model's native size."""

    fixed_bytes: int
    """However many pictures there are, of whatever size."""
    picture_bytes: int
    """For each picture; 0 if no more was seen to be taken for two than for one."""

    @classmethod
    def of_peaks(cls, one: int, two: int) -> CallMemory:
        """From the most that calls for one picture and for two took, in bytes."""
        picture = max(two - one, 0)
        return cls(max(one - picture, 0), picture)

    def batch(self, left_bytes: int, pixels_to_native: float, most: int) -> int:
        """How many pictures fit, from 1 to `most`: a single one is tried whatever is left.

        Args:
            left_bytes: There are for calls.
            pixels_to_native: Pixels of each picture by those of the native size.
            most: At most.
        """
        each = max(self.picture_bytes * pixels_to_native, 1.0)
        return min(max(int((left_bytes - self.fixed_bytes) / each), 1), most)


class Batches(NamedTuple):
    """Pictures in one call at most, by kind of call."""

    denoise: int
    decode: int


@dataclass(frozen=True)
class BatchMemory:
    """What a model's calls take, and where to look for how much is left."""

    denoise: CallMemory
    """Of the denoiser, both halves of guided pictures."""
    decode: CallMemory
    native_pixels: int
    meter: MemoryMeter

    def batches(self, left_bytes: int, pixels: int, most: int) -> Batches:
        """How many pictures of so many pixels fit into what the meter says is left, from 1 to `most`."""
        usable, ratio = int(left_bytes * (1 - RESERVED_SHARE)), pixels / self.native_pixels
        return Batches(self.denoise.batch(usable, ratio, most), self.decode.batch(usable, ratio, most))
