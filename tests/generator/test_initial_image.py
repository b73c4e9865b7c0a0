"""Pictures that start from other pictures, through a real gRPC server."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace

import grpc
import numpy as np
import pytest
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from likeness.types.v1.image_pb2 import Image as ImageMessage
from services.common.errors import InvalidInputError
from services.common.images import encode_png
from services.generator.domain import ItemRequest
from services.generator.pipelines import LoadedModel
from services.generator.validation import resolve
from tests.generator.families.running import PICTURE_TOLERANCE, stock
from tests.generator.grpc_server import events, item, pngs
from tests.generator.tiny import work

Stub = rpc.GeneratorServiceStub
PICTURE = Image.radial_gradient("L").resize((100, 60)).convert("RGB")
DATA = encode_png(PICTURE)
START = {"initial_image": ImageMessage(data=DATA), "strength": 0.35}


async def test_only_the_last_steps_are_done_and_counted(stub: Stub) -> None:
    answers = await events(stub, item("a", steps=10, preview_interval_steps=2, **START))
    assert {answer.started.total_steps for answer in answers if answer.HasField("started")} == {3}
    steps = [answer.step for answer in answers if answer.HasField("step")]
    assert {step.total_steps for step in steps} == {3} and steps[-1].step == 3
    assert [answer.preview.step for answer in answers if answer.HasField("preview")] == [2]


async def test_the_picture_is_the_stock_pipelines_of_the_scaled_picture(stub: Stub, tiny: LoadedModel) -> None:
    fields = {"scheduler": "euler", "steps": 10, "width_pixels": 48}
    made = pngs(await events(stub, item("a", seed=3, **START, **fields), item("plain", seed=3, **fields)))
    asked = ItemRequest("a", "a red star", 3, scheduler="euler", steps=10, width_pixels=48)
    pipeline = StableDiffusionImg2ImgPipeline(**tiny.family.pipeline.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    scaled = PICTURE.resize((48, 32), Image.Resampling.LANCZOS)
    theirs = stock(pipeline, work(tiny, asked)[0].record, image=scaled, strength=0.35).picture
    assert np.abs(_pixels(made["a"]) - theirs).mean() <= PICTURE_TOLERANCE
    assert np.abs(_pixels(made["plain"]) - theirs).mean() > 10 * PICTURE_TOLERANCE


async def test_the_record_names_strength_and_picture(stub: Stub) -> None:
    *_, last = await events(stub, item("a", steps=10, **START))
    record = last.image.record
    expected = {"strength": 0.35, "initial_image_content_hash": hashlib.sha256(DATA).hexdigest(), "steps": 10}
    assert {name: getattr(record, name) for name in expected} == expected
    text = Image.open(io.BytesIO(last.image.image.data)).text  # type: ignore[attr-defined]
    assert json.loads(text["likeness"]).items() >= expected.items()
    assert text["parameters"].endswith(", Denoising strength: 0.35")


async def test_items_of_a_call_may_start_from_one_picture_or_several(stub: Stub) -> None:
    other = {**START, "initial_image": ImageMessage(data=encode_png(PICTURE.rotate(180).convert("L")))}
    start, other = {"steps": 10, **START}, {"steps": 10, **other}
    items = [item("a", **start), item("b", seed=2, **start), item("c", width_pixels=48, **start), item("d", **other)]
    together = pngs(await events(stub, *items))
    assert len({_pixels(png).tobytes() for png in together.values()}) == 4
    alone = pngs(await events(stub, items[3]))
    assert np.abs(_pixels(alone["d"]) - _pixels(together["d"])).mean() <= PICTURE_TOLERANCE


async def test_a_deterministic_one_is_the_same_to_the_bit_in_a_crowd(stub: Stub) -> None:
    asked = item("asked", steps=10, deterministic=True, **START)
    alone = pngs(await events(stub, asked))
    crowd = pngs(await events(stub, item("a", steps=9, **START), asked, *(item(name, seed=9) for name in "bcd")))
    assert crowd["asked"] == alone["asked"]


async def test_what_is_no_picture_is_refused_by_its_field(stub: Stub) -> None:
    broken = item("b", steps=10, strength=0.5, initial_image=ImageMessage(data=b"no picture"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await events(stub, item("a"), broken)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    detail = json.loads(refused.value.details() or "")
    assert (detail["reason"], detail["field"]) == ("IMAGE_UNREADABLE", "items[1].initial_image")


def test_a_model_that_takes_no_initial_image_says_so(tiny: LoadedModel) -> None:
    card = replace(tiny.card, limits=replace(tiny.card.limits, takes_initial_image=False))
    with pytest.raises(InvalidInputError) as refused:
        resolve([ItemRequest("a", "x", 1, initial_image=DATA, strength=0.5)], card, lambda _: False)
    assert refused.value.field == "items[0].initial_image" and "allowed: unset" in refused.value.message


def _pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(Image.open(io.BytesIO(png)), dtype=np.float64)
