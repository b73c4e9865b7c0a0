"""Pictures from a prompt, by both clients against a real server."""

from __future__ import annotations

import asyncio
import io
import json
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from PIL import Image

from likeness import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    GeneratedImage,
    GenerationPreview,
    GenerationProgress,
    InvalidArgument,
    NotFound,
    Priority,
    Unavailable,
)
from likeness._calls import generate_images
from likeness._image_convert import generation_event
from likeness.gateway.v1 import image_service_pb2
from tests.likeness.gateway.faults import Fault
from tests.likeness.gateway.generation import DRAWN_SEED
from tests.likeness.gateway.server import TestGateway

GONE = Fault(grpc.StatusCode.UNAVAILABLE)


def broken(after_events: int) -> Fault:
    return Fault(grpc.StatusCode.UNAVAILABLE, after_events=after_events)


def cancelled(gateway: TestGateway) -> None:
    """Waits until the server knows that a generation was left."""
    while not gateway.images.cancelled:
        time.sleep(0.01)


def test_pictures_come_in_order_with_their_records(client: Client) -> None:
    made = client.generate("a red star", count=3, seed=7, steps=2)
    assert [(one.number, one.seed) for one in made] == [(1, 7), (2, 8), (3, 9)]
    for one in made:
        assert one.error is None and one.record is not None and one.info is not None
        assert (one.record.prompt, one.record.seed, one.record.steps) == ("a red star", one.seed, 2)
        assert one.image is not None and one.image.size == (64, 64)
        assert json.loads(Image.open(io.BytesIO(one.png)).text["likeness"])["seed"] == one.seed
        assert one.info.size_bytes == len(one.png)


def test_progress_is_told_step_by_step(client: Client) -> None:
    seen: list[GenerationProgress] = []
    made = client.generate("a red star", count=2, on_progress=seen.append)
    assert [one.seed for one in made] == [DRAWN_SEED, DRAWN_SEED + 1]
    second = [one for one in seen if one.number == 2]
    assert (second[0].step, second[0].total_steps, second[0].items_ahead) == (0, 0, 1)
    assert [(one.step, one.total_steps) for one in second[1:]] == [(step, 4) for step in range(5)]
    assert [one.seconds_left for one in second] == [None, None, 3.0, 2.0, 1.0, 0.0]


def test_events_come_one_by_one(client: Client) -> None:
    kinds = [type(event) for event in client.generate_events("a red star", steps=1)]
    assert kinds == [GenerationProgress, GenerationProgress, GenerationProgress, GeneratedImage]


def test_a_picture_that_fails_leaves_the_others(client: Client) -> None:
    first, second, third = client.generate("half broken", count=3)
    assert first.error is third.error is None
    assert second.error is not None and second.error.reason == "GENERATION_FAILED"
    assert (second.image, second.png, second.record, second.info) == (None, b"", None, None)


def test_every_option_reaches_the_server(client: Client, gateway: TestGateway) -> None:
    client.generate(
        "a red star",
        count=2,
        seed=0,
        negative_prompt="blue",
        steps=3,
        guidance_scale=0.0,
        width_pixels=64,
        height_pixels=32,
        scheduler="ddim",
        model="generator-embedded",
        keep=True,
    )
    request = gateway.images.requests[0]
    assert (request.count, request.negative_prompt, request.steps, request.scheduler) == (2, "blue", 3, "ddim")
    assert (request.width_pixels, request.height_pixels, request.keep) == (64, 32, True)
    assert request.HasField("seed") and request.HasField("guidance_scale"), "zero is a value, not the default"
    assert gateway.faults.metadata["GenerateImages"]["x-request-id"] == request.request_id
    client.generate("a red star")
    default = gateway.images.requests[1]
    assert not any(default.HasField(name) for name in ("seed", "count", "steps", "guidance_scale", "width_pixels"))


def test_pictures_to_start_from_go_as_files_bytes_pillow_images_or_addresses(
    client: Client, gateway: TestGateway, target: bytes, target_file: Path
) -> None:
    info = client.upload_image(target)
    with Image.open(target_file) as picture:
        for source in (target_file, str(target_file), target, picture, info):
            (made,) = client.generate("a", initial_image=source, strength=0.5, mask=info)
            assert made.record is not None and made.record.strength == 0.5
            assert made.record.mask_content_hash == info.content_hash
    as_file, as_text, as_bytes, as_picture, as_address = gateway.images.requests
    for request in (as_file, as_text, as_bytes):
        assert (request.initial_image.data, request.mask.content_hash) == (target, info.content_hash)
    with Image.open(io.BytesIO(as_picture.initial_image.data)) as sent, Image.open(target_file) as picture:
        assert sent.tobytes() == picture.tobytes()
    assert as_address.initial_image.content_hash == info.content_hash


def test_how_pictures_begin_is_asked_for_and_recorded(client: Client, gateway: TestGateway, target: bytes) -> None:
    (made,) = client.generate(
        "a",
        initial_image=target,
        strength=0.6,
        second_strength=0.4,
        adapter="ink",
        adapter_scale=0.0,
        deterministic=True,
        priority=Priority.BATCH,
    )
    request, record = gateway.images.requests[0], made.record
    assert request.HasField("adapter_scale"), "zero is a value, not the default"
    assert request.priority == image_service_pb2.PRIORITY_BATCH
    assert record is not None
    assert (record.strength, record.second_strength, record.adapter, record.adapter_scale) == (0.6, 0.4, "ink", 0.0)
    assert record.deterministic and record.initial_image_content_hash and not record.mask_content_hash
    client.generate("a", initial_image=None, mask=None)
    default = gateway.images.requests[1]
    assert not any(default.HasField(name) for name in ("initial_image", "strength", "mask", "second_strength"))
    assert (default.priority, default.preview_interval_steps) == (image_service_pb2.PRIORITY_UNSPECIFIED, 0)


def test_previews_are_told_apart_from_progress(client: Client) -> None:
    seen: list[GenerationProgress] = []
    shown: list[GenerationPreview] = []
    client.generate("a", seed=7, count=2, steps=5, preview_every=2, on_progress=seen.append, on_preview=shown.append)
    assert [(one.number, one.seed, one.step) for one in shown] == [(1, 7, 2), (1, 7, 4), (2, 8, 2), (2, 8, 4)]
    assert shown[0].image.size == (16, 16) and shown[0].jpeg != shown[1].jpeg
    assert len(seen) == 2 * 7
    assert len(client.generate("a", preview_every=2)) == 1, "nobody has to look"
    kinds = [type(event) for event in client.generate_events("a", steps=2, preview_every=1)]
    assert kinds.count(GenerationPreview) == 1 and kinds[-1] is GeneratedImage


@pytest.mark.parametrize(
    ("options", "reason", "field"),
    [
        ({"initial_image": b"x"}, "INVALID_FIELD", "strength"),
        ({"adapter": "oil"}, "INVALID_FIELD", "adapter"),
        ({"preview_every": 2**31}, "INVALID_FIELD", "preview_interval_steps"),
        ({"priority": "soon"}, "INVALID_FIELD", "priority"),
    ],
    ids=str,
)
def test_bad_starts_name_their_field(client: Client, options: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.generate("a", **options)
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_a_picture_that_is_not_there(client: Client, target: bytes, tmp_path: Path) -> None:
    unknown = replace(client.upload_image(target), content_hash="0" * 64)
    with pytest.raises(NotFound) as caught:
        client.generate("a", initial_image=unknown, strength=0.5)
    assert caught.value.reason == "IMAGE_NOT_FOUND"
    with pytest.raises(FileNotFoundError):
        client.generate("a", initial_image=tmp_path / "nothing.png", strength=0.5)


def test_kept_pictures_can_be_named_by_their_info(client: Client) -> None:
    (kept,), (bare,) = client.generate("a", seed=1, keep=True), client.generate("b", seed=2)
    assert kept.info is not None and bare.info is not None
    assert client.get_image_bytes(kept.info) == kept.png
    with pytest.raises(NotFound):
        client.get_image_bytes(bare.info)


@pytest.mark.parametrize(
    ("prompt", "options", "field"),
    [
        ("a", {"count": 0}, "count"),
        ("a", {"count": 17}, "count"),
        ("", {}, "prompt"),
        ("a", {"seed": -1}, "seed"),
        ("a", {"seed": 2**64}, "seed"),
        ("a", {"steps": 2**31}, "steps"),
    ],
    ids=str,
)
def test_bad_values_name_their_field(client: Client, prompt: str, options: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.generate(prompt, **options)
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", field)


def test_unknown_models_and_options(client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        client.generate("a", model="nope")
    assert caught.value.reason == "MODEL_NOT_FOUND"
    with pytest.raises(TypeError, match="seeds"):
        client.generate("a", seeds=3)  # type: ignore[call-arg]


def test_a_call_that_never_began_is_made_again(client: Client, gateway: TestGateway) -> None:
    gateway.faults.add("GenerateImages", GONE, GONE)
    assert len(client.generate("a", count=2)) == 2
    assert len({request.request_id for request in gateway.images.requests}) == 1
    assert gateway.faults.calls["GenerateImages"] == 3


def test_a_call_that_breaks_later_is_not_and_no_event_comes_twice(client: Client, gateway: TestGateway) -> None:
    gateway.faults.add("GenerateImages", broken(8))
    seen = []
    with pytest.raises(Unavailable):
        for event in client.generate_events("a", count=2):
            seen.append(event)  # noqa: PERF402 - what came before the break is what counts
    assert len(seen) == 8 and sum(isinstance(event, GeneratedImage) for event in seen) == 1
    assert gateway.faults.calls["GenerateImages"] == 1


def test_the_clients_deadline_holds(gateway: TestGateway) -> None:
    gateway.hold_loops()
    with Client(gateway.address, timeout_seconds=0.3) as client:
        # On a busy machine the time may be over before the server has heard of it.
        while not gateway.images.requests:
            with pytest.raises(DeadlineExceeded):
                client.generate("a")
    cancelled(gateway)


def test_leaving_the_iterator_stops_the_denoising(client: Client, gateway: TestGateway) -> None:
    gateway.hold_loops()
    events = client.generate_events("a", count=16)
    assert isinstance(next(events), GenerationProgress)
    events.close()  # type: ignore[attr-defined]
    cancelled(gateway)


def test_an_exception_in_on_progress_stops_the_denoising(client: Client, gateway: TestGateway) -> None:
    gateway.hold_loops()

    def stop(_: GenerationProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.generate("a", count=16, on_progress=stop)
    cancelled(gateway)


def test_kinds_of_a_newer_server_are_passed_over() -> None:
    assert generation_event(image_service_pb2.GenerateImagesResponse(image_number=1)) is None
    assert generate_images("a", {}).repeatable


async def test_the_async_client_does_the_same(async_client: AsyncClient, gateway: TestGateway) -> None:
    seen: list[GenerationProgress] = []

    async def note(progress: GenerationProgress) -> None:
        seen.append(progress)

    gateway.faults.add("GenerateImages", GONE)
    made = await async_client.generate("half broken", count=3, seed=1, on_progress=note)
    assert [(one.seed, one.error is None) for one in made] == [(1, True), (2, False), (3, True)]
    assert len(seen) == 3 * 6
    with pytest.raises(InvalidArgument):
        await async_client.generate("a", count=0)


async def test_the_async_client_shows_previews(async_client: AsyncClient, target: bytes) -> None:
    shown: list[int] = []

    async def note(preview: GenerationPreview) -> None:
        shown.append(preview.step)

    start = {"initial_image": target, "strength": 0.5}
    (made,) = await async_client.generate("a", steps=4, preview_every=1, on_preview=note, **start)  # type: ignore[arg-type]
    assert shown == [1, 2, 3] and made.record is not None and made.record.strength == 0.5


async def test_a_cancelled_task_stops_the_denoising(async_client: AsyncClient, gateway: TestGateway) -> None:
    gateway.hold_loops()
    started = asyncio.Event()
    task = asyncio.create_task(async_client.generate("a", count=16, on_progress=lambda _: started.set()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(cancelled, gateway)


async def test_closing_the_async_iterator_stops_the_denoising(async_client: AsyncClient, gateway: TestGateway) -> None:
    gateway.hold_loops()
    async with aclosing(async_client.generate_events("a", count=16)) as events:
        assert isinstance(await anext(events), GenerationProgress)
    await asyncio.to_thread(cancelled, gateway)
