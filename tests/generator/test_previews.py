"""Pictures on their way: when they are shown, what they show, and that they change nothing."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.generator.domain import EngineItem, ItemRequest
from services.generator.engine.base import EngineEvent, Finished, Preview
from services.generator.engine.slots import SlotSubmission
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from services.generator.previews import preview_jpeg
from tests.generator.families.running import RECORD
from tests.generator.gate import Gate
from tests.generator.grpc_server import events, item, pngs
from tests.generator.tiny import work

Stub = rpc.GeneratorServiceStub


async def test_a_preview_is_a_small_jpeg_that_says_its_step(stub: Stub) -> None:
    answers = await events(stub, item("a", steps=7, preview_interval_steps=3), item("b", steps=7))
    shown = [answer for answer in answers if answer.HasField("preview")]
    # One that came while nobody read may be gone; the newest never is.
    assert {answer.item_id for answer in shown} == {"a"}
    assert {answer.preview.step for answer in shown} <= {3, 6} and shown[-1].preview.step == 6
    picture = Image.open(io.BytesIO(shown[-1].preview.image.data))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (32, 32))
    assert set(pngs(answers)) == {"a", "b"}
    order = [answer.WhichOneof("event") for answer in answers if answer.item_id == "a"]
    assert order[-1] == "image" and order.index("preview") > order.index("step")


async def test_previews_come_after_every_so_many_steps_but_not_after_the_last(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    submission = engine.submit(work(tiny, ItemRequest("a", "x", 1, steps=6, preview_interval_steps=2)))
    shown: dict[int, Image.Image] = {}

    async def watch() -> None:
        async for event in submission.events():
            if isinstance(event, Preview):
                shown[event.step] = event.picture

    watching = asyncio.create_task(watch())
    for step in range(1, 7):
        gate.let(1)
        while step in (2, 4) and step not in shown:
            await asyncio.sleep(0.001)
    await watching
    assert {step: picture.size for step, picture in shown.items()} == {2: (32, 32), 4: (32, 32)}


async def test_previews_leave_the_picture_as_it_is(stub: Stub) -> None:
    plain = item("a", steps=5, scheduler="euler_ancestral")
    shown = item("a", steps=5, scheduler="euler_ancestral", preview_interval_steps=1)
    assert pngs(await events(stub, plain)) == pngs(await events(stub, shown))


async def test_previews_of_a_step_are_decoded_together(
    engine: StepEngine, tiny: LoadedModel, decoded: list[int]
) -> None:
    items = [ItemRequest(name, "x", 1, steps=3, preview_interval_steps=1) for name in "abcd"]
    await read(engine, tiny, *items)
    assert decoded == [4, 4, 4]
    decoded.clear()
    await read(engine, tiny, replace(items[0], preview_interval_steps=2), *items[1:])
    assert decoded == [3, 4, 4]


async def test_a_preview_that_fails_is_left_out(engine: StepEngine, tiny: LoadedModel) -> None:
    def fail(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if not failed:
            failed.append(len(args[0]))
            raise RuntimeError("no picture")

    failed: list[int] = []
    handle = tiny.family.pipeline.vae.decoder.register_forward_pre_hook(fail)
    seen = await read(engine, tiny, ItemRequest("a", "x", 1, steps=3, preview_interval_steps=2))
    handle.remove()
    assert failed == [1] and not any(isinstance(event, Preview) for event in seen)
    assert isinstance(seen[-1], Finished)


async def test_latents_that_are_no_numbers_are_not_shown(
    engine: StepEngine, tiny: LoadedModel, decoded: list[int]
) -> None:
    handle = tiny.family.pipeline.unet.register_forward_hook(lambda _, __, out: (out[0] * float("nan"),))
    await read(engine, tiny, ItemRequest("a", "x", 1, steps=3, preview_interval_steps=1))
    handle.remove()
    assert decoded == []


async def test_a_newer_preview_takes_the_place_of_an_unread_one_and_never_of_the_picture() -> None:
    submission = SlotSubmission([EngineItem("a", RECORD)], lambda _: "one")
    picture = Image.new("RGB", (8, 8))
    slot = submission.slots["a"]
    for event in (Preview("a", 1, picture), Preview("a", 2, picture), Finished(slot.item, picture)):
        slot.emit(event)
    newest, last = [event async for event in submission.events()]
    assert isinstance(newest, Preview) and newest.step == 2 and isinstance(last, Finished)


def test_a_preview_is_at_most_256_pixels_a_side_and_never_enlarged() -> None:
    wide = Image.linear_gradient("L").convert("RGB").resize((1024, 384))
    small = Image.open(io.BytesIO(preview_jpeg(wide)))
    assert small.size == (256, 96)
    expected = np.asarray(wide.resize((256, 96)), dtype=float)
    assert np.abs(np.asarray(small, dtype=float) - expected).mean() < 3
    assert wide.size == (1024, 384)
    assert Image.open(io.BytesIO(preview_jpeg(wide.resize((32, 16))))).size == (32, 16)


@pytest.fixture
def decoded(tiny: LoadedModel) -> Iterator[list[int]]:
    """Pictures in each call of the decoder."""
    sizes: list[int] = []
    handle = tiny.family.pipeline.vae.decoder.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    yield sizes
    handle.remove()


async def read(engine: StepEngine, model: LoadedModel, *items: ItemRequest) -> list[EngineEvent]:
    """All events."""
    return [event async for event in engine.submit(work(model, *items)).events()]
