"""What a group takes besides its denoising steps is charged to it: encoding initial images, decoding previews."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from services.common.images import encode_png
from services.generator.domain import ItemRequest
from services.generator.engine.step_engine import StepEngine
from services.generator.initial_images import with_initial_images
from services.generator.pipelines import LoadedModel
from tests.generator.engine.test_joining import called, read, unguided
from tests.generator.families.test_image_to_image import PICTURES
from tests.generator.gate import Gate
from tests.generator.tiny import work

STEP, DECODE, ENCODE = 1.0, 3.0, 5.0
"""Seconds on the tests' clock."""
OTHER = unguided("other", 60, width_pixels=48)
OTHER_SIDE = 12


@pytest.fixture
def calls(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Widths of the latents in each call of the denoiser, on a clock that runs while a part of the model does."""
    widths: list[int] = []
    now = 0.0

    def took(seconds: float) -> None:
        nonlocal now
        now += seconds

    def denoise(_: object, args: tuple) -> None:  # type: ignore[type-arg]
        widths.append(args[0].shape[-1])
        took(STEP)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    pipeline = tiny.family.pipeline
    handles = [
        pipeline.unet.register_forward_pre_hook(denoise),
        pipeline.vae.encoder.register_forward_pre_hook(lambda *_: took(ENCODE)),
        pipeline.vae.decoder.register_forward_pre_hook(lambda *_: took(DECODE)),
    ]
    yield widths
    for handle in handles:
        handle.remove()


async def test_previews_are_paid_by_the_group_that_wants_them(
    calls: list[int], engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    shown = unguided("shown", 10, preview_interval_steps=1)
    other = engine.submit(work(tiny, OTHER))
    await called(gate, 1)
    watched = engine.submit(work(tiny, shown))
    gate.open()
    await asyncio.gather(read(other), read(watched))
    # One of its steps with a preview takes as long as four of the others.
    of_shown = [place for place, width in enumerate(calls) if width != OTHER_SIDE]
    between = range(of_shown[0], of_shown[9])
    assert sum(calls[place] == OTHER_SIDE for place in between) == pytest.approx(9 * 4, abs=3)


async def test_initial_images_are_paid_by_the_group_that_starts_from_them(
    calls: list[int], engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    picture = encode_png(PICTURES["gradient"])
    asked = ItemRequest("started", "x", 1, steps=10, guidance_scale=1.0, initial_image=picture, strength=1.0)
    other = engine.submit(work(tiny, OTHER))
    await called(gate, 1)
    started = engine.submit(with_initial_images([asked], work(tiny, asked)))
    gate.open()
    await asyncio.gather(read(other), read(started))
    first, second, third, *_ = [place for place, width in enumerate(calls) if width != OTHER_SIDE]
    # It comes first as a new group does, and waits for its next step until the others have had as much.
    assert first == 1 and second - first - 1 == pytest.approx(STEP + ENCODE, abs=1) and third - second <= 3
