"""GenerateImages over the real generator with the embedded model: gateway, backend client and engine together."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image, ImageDraw

from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.generator.v1.generator_service_pb2_grpc import add_GeneratorServiceServicer_to_server
from likeness.types.v1.image_pb2 import Image as ImageMessage
from services.common.images import encode_png
from services.common.profile import Adapter, load_profile, resolve_source
from services.common.settings import Settings
from services.gateway.backends.clients import GeneratorClient
from services.generator.service import GeneratorService
from tests.gateway.conftest import Gateway, Parts, clear, running
from tests.gateway.failures import reason_of
from tests.generator.adapters.conftest import with_adapters
from tests.generator.adapters.lora_files import peft_tensors, random_changes, save
from tests.generator.grpc_server import PlainServicer

pytestmark = pytest.mark.integration

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PICTURE = Image.new("RGB", (128, 128), "white")
ImageDraw.Draw(PICTURE).ellipse((30, 30, 98, 98), fill="red")
DATA = encode_png(PICTURE)
RIGHT_HALF = Image.new("L", PICTURE.size, 0)
RIGHT_HALF.paste(255, (64, 0, 128, 128))
START = {"initial_image": ImageMessage(data=DATA), "strength": 0.5}


PROFILE = load_profile("embedded")


def stock_pipeline() -> Any:
    """The embedded model as diffusers loads it."""
    pipeline = DiffusionPipeline.from_pretrained(  # type: ignore[no-untyped-call]
        resolve_source(Settings(), PROFILE.generators[0].source, embedded=True), dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random changes of the embedded model's denoiser, as PEFT writes them."""
    changes = random_changes(stock_pipeline(), 1, "unet")
    return save(peft_tensors(changes), tmp_path_factory.mktemp("adapters") / "ink.safetensors")


@pytest.fixture(scope="module")
def service(lora: Path) -> Iterator[GeneratorService]:
    """The embedded generator, with an adapter."""
    model = with_adapters(Adapter(id="ink", source=str(lora)), model=PROFILE.generators[0])
    profile = PROFILE.model_copy(update={"generators": (model,)})
    started = GeneratorService.start(Settings(device="cpu", torch_threads=1), profile)
    yield started
    started.close()


@pytest.fixture
async def gateway(database_url: str, service: GeneratorService) -> AsyncIterator[Gateway]:
    """A gateway whose generator is the real one behind a real channel."""
    server = grpc.aio.server()
    add_GeneratorServiceServicer_to_server(PlainServicer(service), server)
    client = GeneratorClient(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    await server.start()
    async with running(database_url, Parts(generator=client)) as one:  # type: ignore[arg-type]
        yield one
    await client.close()
    await server.stop(None)
    await clear(database_url)


async def generate(gateway: Gateway, **fields: Any) -> list[pb.GenerateImagesResponse]:
    request = pb.GenerateImagesRequest(**{"prompt": "a red circle", "seed": 1, "steps": 10, **fields})
    return [event async for event in gateway.images.GenerateImages(request)]


async def made(gateway: Gateway, **fields: Any) -> list[pb.GeneratedImage]:
    return [event.image for event in await generate(gateway, **fields) if event.HasField("image")]


def pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB").resize((64, 64)), dtype=np.float64)


def distance(first: bytes, second: bytes, columns: slice = slice(None)) -> float:
    """Mean absolute difference of pixels, 0 to 255."""
    return float(np.abs(pixels(first)[:, columns] - pixels(second)[:, columns]).mean())


async def test_the_less_is_made_anew_the_more_stays(gateway: Gateway) -> None:
    upload = await gateway.images.UploadImage(pb.UploadImageRequest(data=DATA))
    start = ImageMessage(content_hash=upload.info.content_hash)
    (little,) = await made(gateway, initial_image=start, strength=0.2)
    (much,) = await made(gateway, initial_image=start, strength=1.0)
    assert distance(little.data, DATA) < distance(much.data, DATA)
    assert (little.record.strength, little.record.initial_image_content_hash) == (0.2, hashlib.sha256(DATA).hexdigest())


async def test_a_mask_leaves_what_is_black(gateway: Gateway) -> None:
    mask = encode_png(RIGHT_HALF.convert("RGB"))
    (whole,) = await made(gateway, prompt="a blue square", **START | {"strength": 0.9})
    (half,) = await made(gateway, prompt="a blue square", **START | {"strength": 0.9}, mask=ImageMessage(data=mask))
    left, right = slice(0, 28), slice(36, 64)
    assert distance(half.data, DATA, left) < distance(whole.data, DATA, left) / 2
    assert distance(half.data, DATA, right) > distance(half.data, DATA, left)
    assert half.record.mask_content_hash == hashlib.sha256(mask).hexdigest()


async def test_a_second_round_makes_another_picture_and_is_recorded(gateway: Gateway) -> None:
    (once,) = await made(gateway, **START)
    events = await generate(gateway, **START, second_strength=0.4)
    assert {event.step.total_steps for event in events if event.HasField("step")} == {5 + 4}
    twice = events[-1].image
    assert twice.record.second_strength == 0.4 and distance(once.data, twice.data) > 0.5


async def test_an_adapter_makes_the_picture_that_diffusers_makes_with_its_file(gateway: Gateway, lora: Path) -> None:
    (plain,) = await made(gateway)
    (changed,) = await made(gateway, adapter="ink", adapter_scale=0.6)
    stock = stock_pipeline()
    stock.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="ink")
    stock.set_adapters("ink", 0.6)
    size = {"width": changed.record.width_pixels, "height": changed.record.height_pixels}
    seeded = torch.Generator().manual_seed(1)
    options = {"num_inference_steps": 10, "guidance_scale": changed.record.guidance_scale, "generator": seeded, **size}
    theirs = encode_png(stock("a red circle", **options).images[0])
    assert distance(changed.data, theirs) <= 0.05 < 1 < distance(changed.data, plain.data)
    assert (changed.record.adapter, changed.record.adapter_scale, plain.record.adapter) == ("ink", 0.6, "")
    assert changed.record.adapter_revision


async def test_previews_are_small_jpegs_and_change_nothing(gateway: Gateway) -> None:
    (plain,) = await made(gateway, deterministic=True)
    events = await generate(gateway, deterministic=True, preview_interval_steps=3)
    shown = [event.preview for event in events if event.HasField("preview")]
    assert {one.step for one in shown} <= {3, 6, 9} and shown[-1].step == 9
    with Image.open(io.BytesIO(shown[-1].data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (128, 128))
    assert events[-1].image.data == plain.data and plain.record.deterministic


async def test_a_slow_reader_gets_every_picture(gateway: Gateway, service: GeneratorService) -> None:
    request = pb.GenerateImagesRequest(prompt="a red circle", seed=1, count=3, steps=6, preview_interval_steps=1)
    events = aiter(gateway.images.GenerateImages(request))
    first = await anext(events)
    while service.stats().running_items or service.stats().waiting_items:
        await asyncio.sleep(0.01)
    late = [first, *[event async for event in events]]
    assert sorted(event.image_number for event in late if event.HasField("image")) == [1, 2, 3]
    for number in (1, 2, 3):
        shown = [event.preview.step for event in late if event.image_number == number and event.HasField("preview")]
        assert shown == sorted(set(shown))


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"initial_image": ImageMessage(data=DATA)}, "strength", "INVALID_FIELD"),
        ({"strength": 0.5}, "strength", "INVALID_FIELD"),
        (START | {"strength": 1.5}, "strength", "INVALID_FIELD"),
        (START | {"initial_image": ImageMessage(data=b"no picture")}, "initial_image", "IMAGE_UNREADABLE"),
        (START | {"mask": ImageMessage(data=b"no picture")}, "mask", "IMAGE_UNREADABLE"),
        ({"mask": ImageMessage(data=DATA)}, "mask", "INVALID_FIELD"),
        ({"second_strength": 0.5}, "second_strength", "INVALID_FIELD"),
        (START | {"second_strength": 0.0}, "second_strength", "INVALID_FIELD"),
        ({"adapter": "oil"}, "adapter", "INVALID_FIELD"),
        ({"adapter_scale": 1.0}, "adapter_scale", "INVALID_FIELD"),
        ({"preview_interval_steps": -1}, "preview_interval_steps", "INVALID_FIELD"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_by_this_requests_field(
    gateway: Gateway, fields: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generate(gateway, **fields)
    assert reason_of(caught.value) == (INVALID, reason, field)
    assert "items[" not in caught.value.details()
