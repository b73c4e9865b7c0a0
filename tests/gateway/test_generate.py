"""GenerateImages: pictures from a prompt, outside any session, through a real channel."""

from __future__ import annotations

import asyncio
import io
import os
import uuid
from typing import Any

import grpc
import pytest
from PIL import Image

from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.gateway.v1 import session_service_pb2
from services.common.errors import (
    InternalError,
    InvalidInputError,
    LikenessError,
    NotFoundError,
    OverloadedError,
    Reason,
    UnavailableError,
)
from services.common.images import content_hash
from services.gateway.domain import ItemError
from services.gateway.ports import Priority
from tests.gateway import doubles
from tests.gateway.conftest import FAST_RETRY, Gateway
from tests.gateway.failures import details_of, reason_of

pytestmark = pytest.mark.integration

RED = "rgb 200 0 0"
GONE = UnavailableError(Reason.BACKEND_UNAVAILABLE, "gone")


async def generate(gateway: Gateway, **fields: Any) -> list[pb.GenerateImagesResponse]:
    """Every event of a call."""
    request = pb.GenerateImagesRequest(**{"prompt": RED, **fields})
    return [event async for event in gateway.images.GenerateImages(request)]


async def refused(gateway: Gateway, **fields: Any) -> grpc.aio.AioRpcError:
    """How a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generate(gateway, **fields)
    return caught.value


def finished(events: list[pb.GenerateImagesResponse]) -> list[pb.GenerateImagesResponse]:
    return [event for event in events if event.WhichOneof("event") == "image"]


async def settled(gateway: Gateway) -> int:
    """Pictures that the generator has made once it makes no more for a while."""
    made, quiet = -1, 0
    while quiet < 20:
        quiet = quiet + 1 if gateway.parts.generator.made.total() == made else 0
        made = gateway.parts.generator.made.total()
        await asyncio.sleep(0.05)
    return made


async def test_each_picture_has_the_next_seed_its_facts_and_its_record(gateway: Gateway) -> None:
    made = finished(await generate(gateway, seed=41, count=3, steps=5, model="paint-large"))
    assert [(one.image_number, one.seed) for one in made] == [(1, 41), (2, 42), (3, 43)]
    for one in made:
        image = one.image
        assert image.data == doubles.draw(RED, one.seed)
        assert (image.info.content_hash, image.info.size_bytes) == (content_hash(image.data), len(image.data))
        assert (image.info.media_type, image.info.width_pixels, image.info.height_pixels) == ("image/png", 16, 16)
        assert (image.record.prompt, image.record.seed, image.record.steps) == (RED, one.seed, 5)
    assert gateway.parts.generator.requests[0][0] == "paint-large"


async def test_progress_says_what_is_ahead_and_what_is_left(gateway: Gateway) -> None:
    events = await generate(gateway, seed=1, count=2)
    kinds = [(event.image_number, event.WhichOneof("event")) for event in events]
    assert kinds == [(n, kind) for n in (1, 2) for kind in ("queued", *["step"] * doubles.STEPS, "image")]
    assert [event.queued.items_ahead for event in events if event.HasField("queued")] == [0, 1]
    steps = [event.step for event in events if event.HasField("step")][: doubles.STEPS]
    assert [(one.step, one.total_steps, one.time_left.seconds) for one in steps] == [(1, 3, 2), (2, 3, 1), (3, 3, 0)]
    assert all(one.HasField("time_left") for one in steps)


async def test_a_drawn_seed_is_said_by_every_event_and_belongs_to_the_request_id(gateway: Gateway) -> None:
    first, second = await generate(gateway, count=2), await generate(gateway, count=2)
    assert len({event.seed - event.image_number for event in first}) == 1
    assert first[0].seed != second[0].seed
    request_id = str(uuid.uuid4())
    assert await generate(gateway, request_id=request_id) == await generate(gateway, request_id=request_id)
    assert gateway.parts.generator.requests[-1][1] == request_id


async def test_nothing_is_kept_by_default(gateway: Gateway) -> None:
    made = finished(await generate(gateway, seed=1))
    assert gateway.parts.objects.data == {}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.images.GetImage(pb.GetImageRequest(content_hash=made[0].image.info.content_hash))
    assert reason_of(caught.value) == (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND")
    assert not (await gateway.stub.ListSessions(session_service_pb2.ListSessionsRequest())).sessions


async def test_kept_pictures_can_be_named_by_their_hash_and_are_never_collected(gateway: Gateway) -> None:
    made = finished(await generate(gateway, seed=1, count=2, keep=True))
    assert await gateway.server.images.sweep() == 0
    for one in made:
        stored = await gateway.images.GetImage(pb.GetImageRequest(content_hash=one.image.info.content_hash))
        assert (stored.data, stored.info) == (one.image.data, one.image.info)
    again = finished(await generate(gateway, seed=1, count=2, keep=True))
    assert again == made and len(gateway.parts.objects.data) == 2


async def test_a_picture_that_cannot_be_kept_fails_the_call(gateway: Gateway) -> None:
    away = UnavailableError(Reason.OBJECT_STORE_UNAVAILABLE, "no disk")
    gateway.parts.objects.failures = [away] * FAST_RETRY.attempts
    error = await refused(gateway, seed=1, keep=True)
    assert reason_of(error) == (grpc.StatusCode.UNAVAILABLE, "OBJECT_STORE_UNAVAILABLE")
    assert len(gateway.parts.generator.calls) == 1, "the store's failure must not cost another picture"
    gateway.parts.objects.failures = [away]
    assert finished(await generate(gateway, seed=1, keep=True))


async def test_a_picture_that_fails_leaves_the_others(gateway: Gateway) -> None:
    gateway.parts.generator.fail_item = "2"
    events = await generate(gateway, seed=1, count=3)
    assert [one.image_number for one in finished(events)] == [1, 3]
    failed = next(event for event in events if event.HasField("failed"))
    assert (failed.image_number, failed.seed, failed.failed.error.reason) == (2, 2, "GENERATION_FAILED")


async def test_failures_of_a_picture_name_fields_of_this_request(gateway: Gateway) -> None:
    gateway.parts.generator.broken[RED] = ItemError("INVALID_FIELD", "items[0].scheduler: is odd", "items[0].scheduler")
    error = (await generate(gateway, seed=1))[-1].failed.error
    assert (error.field, error.message) == ("scheduler", "scheduler: is odd")


async def test_what_is_no_picture_is_a_failed_one(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubles, "draw", lambda *_: b"no picture")
    last = (await generate(gateway, seed=1, keep=True))[-1]
    assert last.failed.error.reason == "GENERATION_FAILED" and gateway.parts.objects.data == {}


@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"count": 0}, "count", "1 to 16"),
        ({"count": 17}, "count", "1 to 16"),
        ({"count": -1}, "count", "1 to 16"),
        ({"prompt": ""}, "prompt", "1 to 2,000 characters"),
        ({"prompt": " \n"}, "prompt", "1 to 2,000 characters"),
        ({"prompt": "x" * 10_000}, "prompt", "1 to 2,000 characters"),
        ({"prompt": "a\0b"}, "prompt", "1 to 2,000 characters without NUL"),
        ({"negative_prompt": "x" * 2001}, "negative_prompt", "0 to 2,000 characters"),
        ({"seed": 2**64 - 1, "count": 2}, "seed", f"0 to {2**64 - 2}"),
        ({"request_id": "mine"}, "request_id", "a UUID with hyphens, or empty"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_bad_requests_do_not_reach_the_generator(
    gateway: Gateway, fields: dict[str, Any], field: str, allowed: str
) -> None:
    error = await refused(gateway, **fields)
    assert reason_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)
    assert details_of(error)["ErrorInfo"].metadata["allowed"] == allowed
    assert gateway.parts.generator.calls == []


async def test_the_largest_seed_is_a_seed(gateway: Gateway) -> None:
    made = finished(await generate(gateway, seed=2**64 - 2, count=2))
    assert [one.seed for one in made] == [2**64 - 2, 2**64 - 1]


@pytest.mark.parametrize("field", ["steps", "scheduler", "width_pixels", "negative_prompt"])
async def test_what_the_generator_refuses_is_said_of_this_request(gateway: Gateway, field: str) -> None:
    gateway.parts.generator.failures = [InvalidInputError(f"items[0].{field}", "is odd", allowed="even")]
    error = await refused(gateway, seed=1)
    assert reason_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)
    assert error.details() == f"{field}: is odd; allowed: even"
    assert len(gateway.parts.generator.calls) == 1


async def test_an_unknown_model_is_not_found(gateway: Gateway) -> None:
    unknown = NotFoundError(Reason.MODEL_NOT_FOUND, "generator model", "nope", field="model", known=["paint"])
    gateway.parts.generator.failures = [unknown]
    error = await refused(gateway, seed=1, model="nope")
    assert reason_of(error) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    assert "paint" in error.details() and details_of(error)["ResourceInfo"].resource_name == "nope"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (OverloadedError(Reason.QUEUE_FULL, "full", retry_after_seconds=3.0), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (GONE, grpc.StatusCode.UNAVAILABLE),
    ],
    ids=["full", "gone"],
)
async def test_what_was_never_begun_is_the_callers_to_repeat(
    gateway: Gateway, failure: LikenessError, code: grpc.StatusCode
) -> None:
    gateway.parts.generator.failures = [failure]
    error = await refused(gateway, seed=1)
    assert reason_of(error) == (code, failure.reason.value)
    if failure.retry_after_seconds:
        assert details_of(error)["RetryInfo"].retry_delay.seconds == 3
    assert len(gateway.parts.generator.calls) == 1


async def test_pictures_that_a_replica_took_with_it_are_made_again(gateway: Gateway) -> None:
    generator = gateway.parts.generator
    generator.fail_after_pictures, generator.failure_after_pictures = 1, GONE
    made = finished(await generate(gateway, seed=1, count=3))
    assert [one.image_number for one in made] == [1, 2, 3]
    assert generator.calls == [["1", "2", "3"], ["2", "3"]]


async def test_a_generator_that_stays_away_ends_the_call_with_what_was_made(gateway: Gateway) -> None:
    stopping = ItemError("BACKEND_UNAVAILABLE", "the replica is stopping")
    gateway.parts.generator.broken[RED] = stopping
    error = await refused(gateway, seed=1)
    assert reason_of(error) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
    assert len(gateway.parts.generator.calls) == FAST_RETRY.attempts


async def test_a_defect_in_the_middle_ends_the_call_after_what_was_made(gateway: Gateway) -> None:
    gateway.parts.generator.fail_after_pictures = 1
    call = gateway.images.GenerateImages(pb.GenerateImagesRequest(prompt=RED, seed=1, count=2))
    while not (event := await call.read()).HasField("image"):
        pass
    assert event.image_number == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert reason_of(caught.value) == (grpc.StatusCode.INTERNAL, InternalError().reason.value)


async def test_cancelling_the_call_cancels_the_denoising(gateway: Gateway) -> None:
    generator = gateway.parts.generator
    generator.gate.clear()
    call = gateway.images.GenerateImages(pb.GenerateImagesRequest(prompt=RED, count=4))
    assert (await call.read()).HasField("queued")
    call.cancel()
    while not generator.cancelled:
        await asyncio.sleep(0.005)
    assert generator.steps_done == 0 and not generator.made


async def test_a_deadline_cancels_the_denoising(gateway: Gateway) -> None:
    generator = gateway.parts.generator
    generator.gate.clear()
    # On a busy machine it takes a while until the call has come to the generator.
    seconds = 0.3
    while not generator.calls:
        call = gateway.images.GenerateImages(pb.GenerateImagesRequest(prompt=RED), timeout=seconds)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        seconds *= 2
    while not generator.cancelled:
        await asyncio.sleep(0.005)


async def test_the_callers_deadline_reaches_the_generator(gateway: Gateway) -> None:
    for timeout in (None, 30, 5000):
        request = pb.GenerateImagesRequest(prompt=RED)
        assert [event async for event in gateway.images.GenerateImages(request, timeout=timeout)]
    none, short, long = gateway.parts.generator.timeouts
    assert none == 120.0, "the gateway's own limit where the caller sets none"
    assert short < 60 and long > 120
    assert set(gateway.parts.generator.priorities) == {Priority.INTERACTIVE}


async def test_a_slow_reader_holds_the_generator_back_and_gets_every_picture(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = io.BytesIO()
    Image.frombytes("RGB", (1000, 1000), os.urandom(3_000_000)).save(picture, "PNG", compress_level=0)
    monkeypatch.setattr(doubles, "draw", lambda *_: picture.getvalue())
    call = gateway.images.GenerateImages(pb.GenerateImagesRequest(prompt=RED, seed=1, count=16))
    assert await settled(gateway) < 16, "the gateway read on for a caller who does not"
    made = finished([event async for event in call])
    assert [one.image_number for one in made] == list(range(1, 17))
