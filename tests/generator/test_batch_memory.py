"""How many pictures fit into the memory that is left."""

from __future__ import annotations

import pytest
import torch

from services.generator.batch_memory import Batches, BatchMemory, CallMemory, CudaMeter, meter_of


@pytest.mark.parametrize(
    ("one", "two", "memory"),
    [
        (130, 230, CallMemory(fixed_bytes=30, picture_bytes=100)),
        (100, 200, CallMemory(0, 100)),
        # Faster than in proportion: the larger of the two differences is taken for each picture.
        (100, 250, CallMemory(0, 150)),
        # Another kernel for two, which takes less.
        (130, 120, CallMemory(130, 0)),
    ],
)
def test_two_peaks_give_the_fixed_part_and_that_of_a_picture(one: int, two: int, memory: CallMemory) -> None:
    assert CallMemory.of_peaks(one, two) == memory


@pytest.mark.parametrize(
    ("left", "ratio", "batch"),
    [
        (330, 1.0, 3),
        (329, 1.0, 2),
        # A picture of four times the pixels takes four times as much, the fixed part stays.
        (30 + 2 * 400, 4.0, 2),
        (30 + 2 * 400 - 1, 4.0, 1),
        (30 + 4 * 25, 0.25, 4),
        # A single picture is always tried, and the profile's limit always holds.
        (30, 1.0, 1),
        (0, 1.0, 1),
        (-500, 1.0, 1),
        (10**9, 1.0, 8),
    ],
)
def test_as_many_pictures_as_fit(left: int, ratio: float, batch: int) -> None:
    assert CallMemory(30, 100).batch(left, ratio, most=8) == batch


def test_calls_that_take_nothing_for_a_picture_are_limited_by_their_fixed_part() -> None:
    assert CallMemory(130, 0).batch(200, 1.0, most=8) == 8
    assert CallMemory(130, 0).batch(100, 1.0, most=8) == 1


def test_denoiser_and_decoder_have_limits_of_their_own_and_a_tenth_is_kept_back() -> None:
    memory = BatchMemory(CallMemory(0, 90), CallMemory(90, 270), native_pixels=64 * 64, meter=CudaMeter(_GPU))
    assert memory.batches(1000, 64 * 64, most=16) == Batches(denoise=10, decode=3)
    assert memory.batches(999, 64 * 64, most=16) == Batches(denoise=9, decode=2)
    assert memory.batches(1000, 32 * 64, most=16) == Batches(denoise=16, decode=6)


def test_only_a_gpu_has_a_meter() -> None:
    assert meter_of(torch.device("cpu")) is None
    assert isinstance(meter_of(_GPU), CudaMeter)


_GPU = torch.device("cuda", 0)
