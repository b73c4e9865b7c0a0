"""What calls of the real tiny model take of memory; all but CUDA's own numbers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from services.common.profile import Defaults, Profile
from services.common.settings import Settings
from services.generator import catalog
from services.generator.batch_memory import CallMemory
from services.generator.domain import ItemRequest
from services.generator.engine.measuring import measured
from services.generator.engine.step_engine import StepEngine
from services.generator.engine.warm_up import first_record
from services.generator.pipelines import LoadedModel
from tests.generator.engine.byte_meter import ByteMeter
from tests.generator.tiny import TINY, work

Hooks = Callable[[Callable[[int], None]], None]


@torch.inference_mode()
def test_two_small_measurements_say_what_a_large_batch_of_large_pictures_takes(tiny: LoadedModel) -> None:
    meter = ByteMeter()
    memory = measured(tiny, meter).memory
    assert memory is not None and memory.native_pixels == 32 * 32 and len(meter.peaks) == 4
    large = replace(first_record(tiny), guidance_scale=3.0, width_pixels=64, height_pixels=64)
    batch = tiny.family.begin([replace(large, seed=seed) for seed in range(3)])
    denoise = meter.peak_bytes(lambda: tiny.family.predict(batch))
    decode = meter.peak_bytes(lambda: tiny.family.decode(batch))
    for expected, taken in ((memory.denoise, denoise), (memory.decode, decode)):
        assert expected.picture_bytes > 0
        assert 0.9 <= (expected.fixed_bytes + 3 * 4 * expected.picture_bytes) / taken <= 1.1


def test_guided_pictures_are_measured_whatever_the_default_is(tiny: LoadedModel, before_denoising: Hooks) -> None:
    rows: list[int] = []
    before_denoising(rows.append)
    limits = replace(tiny.card.limits, default_guidance_scale=1.0)
    measured(replace(tiny, card=replace(tiny.card, limits=limits)), ByteMeter())
    assert rows == [2, 4]


def test_a_model_that_has_room_for_one_picture_is_no_less_usable(tiny: LoadedModel, before_denoising: Hooks) -> None:
    def memory_for_one(rows: int) -> None:
        if rows > 2:
            raise torch.OutOfMemoryError("out of memory")

    before_denoising(memory_for_one)
    meter = ByteMeter()
    memory = measured(tiny, meter).memory
    assert memory is not None
    assert memory.denoise == CallMemory(0, meter.peaks[0]) and memory.decode == CallMemory(0, meter.peaks[1])


def test_nothing_is_measured_where_nothing_can_be_chosen(tiny: LoadedModel, before_denoising: Hooks) -> None:
    rows: list[int] = []
    before_denoising(rows.append)
    one_by_one = replace(tiny, max_batch=1)
    assert measured(tiny, None) is tiny and measured(one_by_one, ByteMeter()) is one_by_one
    assert not rows


@pytest.mark.parametrize("again", [False, True])
def test_a_model_is_measured_when_it_is_loaded_and_when_it_comes_back(
    again: bool, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = ByteMeter()
    monkeypatch.setattr(catalog, "meter_of", lambda device: meter if device.type == "cpu" else None)
    settings = Settings(models_dir=models_dir, device="cpu")
    defaults = Defaults(metrics=("ssim",), selection_metrics=("ssim",))
    if again:
        model = catalog.load_again(TINY, settings)
    else:
        profile = Profile(name="test", description="", generators=(TINY,), defaults=defaults)
        model = catalog.load_catalog(profile, settings).loaded["tiny"]
    assert model.memory is not None and model.memory.meter is meter and len(meter.peaks) == 4


async def test_the_engine_stands_still_meanwhile(tiny: LoadedModel) -> None:
    calls: list[str] = []
    handle = tiny.family.pipeline.unet.register_forward_pre_hook(
        lambda *_: calls.append(threading.current_thread().name)
    )
    seen: list[int] = []

    class Watching(ByteMeter):
        def peak_bytes(self, call: Callable[[], object]) -> int:
            before = calls.count("denoiser")
            # Time for several steps.
            time.sleep(0.1)
            peak = super().peak_bytes(call)
            seen.append(calls.count("denoiser") - before)
            return peak

    engine = StepEngine({"tiny": tiny})
    submission = engine.submit(work(tiny, ItemRequest("long", "x", 1, steps=200)))
    while not calls:
        await asyncio.sleep(0.001)
    await asyncio.to_thread(measured, tiny, Watching())
    submission.cancel()
    engine.close()
    handle.remove()
    assert seen == [0, 0, 0, 0]
