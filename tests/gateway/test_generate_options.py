"""GenerateImages: pictures to start from, previews, adapters and urgency, through a real channel."""

from __future__ import annotations

import grpc
import pytest

from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.types.v1.image_pb2 import Image
from services.common.errors import ImageError, InvalidInputError, Reason, UnavailableError
from services.common.images import MAX_BYTES, content_hash
from services.gateway import generation
from services.gateway.batches import MAX_CALL_BYTES
from services.gateway.domain import GenerationRecord
from services.gateway.ports import Priority
from tests.gateway import doubles
from tests.gateway.conftest import Gateway
from tests.gateway.failures import details_of, reason_of
from tests.gateway.test_generate import GONE, RED, finished, generate, refused

pytestmark = pytest.mark.integration

INVALID = grpc.StatusCode.INVALID_ARGUMENT
START, MASK = doubles.draw("rgb 10 20 30", 1), doubles.draw("rgb 255 255 255", 2)


async def stored(gateway: Gateway, data: bytes) -> Image:
    """An uploaded picture by its hash."""
    answer = await gateway.images.UploadImage(pb.UploadImageRequest(data=data))
    return Image(content_hash=answer.info.content_hash)


async def test_pictures_go_to_the_generator_as_bytes_however_they_are_named(gateway: Gateway) -> None:
    given = {"initial_image": Image(data=START), "mask": await stored(gateway, MASK)}
    made = finished(await generate(gateway, seed=1, count=2, strength=0.5, **given))
    assert [one.image_number for one in made] == [1, 2]
    await generate(gateway, initial_image=await stored(gateway, START), strength=0.25, second_strength=1.0)
    first, second, third = gateway.parts.generator.items
    assert {(one.initial_image, one.mask, one.strength, one.second_strength) for one in (first, second)} == {
        (START, MASK, 0.5, None)
    }
    assert (third.initial_image, third.mask, third.strength, third.second_strength) == (START, None, 0.25, 1.0)


async def test_nothing_asked_is_nothing_sent(gateway: Gateway) -> None:
    await generate(gateway, seed=1)
    (item,) = gateway.parts.generator.items
    assert (item.initial_image, item.mask, item.strength, item.second_strength) == (None, None, None, None)
    assert (item.adapter, item.adapter_scale, item.preview_interval_steps, item.deterministic) == ("", None, 0, False)


@pytest.mark.parametrize("field", ["initial_image", "mask"])
@pytest.mark.parametrize(
    ("picture", "code", "reason", "at"),
    [
        (Image(content_hash="0" * 64), grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND", ""),
        (Image(content_hash="../secret"), INVALID, "INVALID_FIELD", ".content_hash"),
        (Image(), INVALID, "INVALID_FIELD", ""),
        (Image(data=b"x" * (MAX_BYTES + 1)), INVALID, "IMAGE_TOO_LARGE", ""),
    ],
    ids=["unknown", "no hash", "empty", "too large"],
)
async def test_pictures_that_cannot_be_read_are_refused_by_their_field(
    gateway: Gateway, field: str, picture: Image, code: grpc.StatusCode, reason: str, at: str
) -> None:
    error = await refused(gateway, seed=1, strength=0.5, **{field: picture})
    assert reason_of(error)[:2] == (code, reason)
    if code is INVALID:
        assert reason_of(error)[2] == field + at
    assert gateway.parts.generator.calls == []


async def test_a_hash_without_a_picture_names_the_hash(gateway: Gateway) -> None:
    error = await refused(gateway, seed=1, strength=0.5, initial_image=Image(content_hash="0" * 64))
    assert details_of(error)["ResourceInfo"].resource_name == "0" * 64


async def test_a_picture_that_was_collected_meanwhile_is_not_found(gateway: Gateway) -> None:
    picture = await stored(gateway, START)
    del gateway.parts.objects.data[picture.content_hash]
    error = await refused(gateway, seed=1, strength=0.5, initial_image=picture)
    assert reason_of(error) == (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND")


async def test_pictures_that_no_call_can_carry_together_are_refused(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "MAX_CALL_BYTES", len(START) + len(MASK) - 1)
    error = await refused(gateway, seed=1, strength=0.5, initial_image=Image(data=START), mask=Image(data=MASK))
    assert reason_of(error) == (INVALID, "INVALID_FIELD", "mask")
    assert finished(await generate(gateway, seed=1, strength=0.5, initial_image=Image(data=START)))
    assert 2 * MAX_BYTES > MAX_CALL_BYTES, "two of the largest pictures do not fit, hence the check"


async def test_pictures_go_in_as_many_calls_as_they_need(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "MAX_CALL_BYTES", 2 * len(START) + 1)
    generator = gateway.parts.generator
    start = {"initial_image": Image(data=START), "strength": 0.5}
    made = finished(await generate(gateway, seed=1, count=5, **start))
    assert [one.image_number for one in made] == [1, 2, 3, 4, 5]
    assert generator.calls == [["1", "2"], ["3", "4"], ["5"]]
    generator.calls.clear()
    generator.fail_after_pictures, generator.failure_after_pictures = 1, GONE
    made = finished(await generate(gateway, seed=1, count=3, **start))
    assert [one.image_number for one in made] == [1, 2, 3]
    assert generator.calls == [["1", "2"], ["2", "3"]]


async def test_previews_come_between_steps_and_pictures_stay_last(gateway: Gateway) -> None:
    events = await generate(gateway, seed=5, count=2, preview_interval_steps=1)
    for number in (1, 2):
        kinds = [event.WhichOneof("event") for event in events if event.image_number == number]
        assert kinds == ["queued", "step", "preview", "step", "preview", "step", "image"]
    first = next(event for event in events if event.HasField("preview"))
    assert (first.image_number, first.seed, first.preview.step) == (1, 5, 1)
    assert first.preview.data == doubles.draw(RED, 1)
    assert not any(event.HasField("preview") for event in await generate(gateway, seed=5))


async def test_previews_are_no_pictures_when_a_replica_is_lost(gateway: Gateway) -> None:
    generator = gateway.parts.generator
    generator.fail_after_pictures, generator.failure_after_pictures = 1, GONE
    events = await generate(gateway, seed=1, count=2, preview_interval_steps=2)
    assert [one.image_number for one in finished(events)] == [1, 2]
    assert generator.calls == [["1", "2"], ["2"]]


async def test_adapters_and_determinism_reach_the_generator(gateway: Gateway) -> None:
    await generate(gateway, seed=1, adapter="ink", adapter_scale=0.0, deterministic=True)
    (item,) = gateway.parts.generator.items
    assert (item.adapter, item.adapter_scale, item.deterministic) == ("ink", 0.0, True)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (pb.PRIORITY_UNSPECIFIED, Priority.INTERACTIVE),
        (pb.PRIORITY_INTERACTIVE, Priority.INTERACTIVE),
        (pb.PRIORITY_NORMAL, Priority.NORMAL),
        (pb.PRIORITY_BATCH, Priority.BATCH),
    ],
)
async def test_priorities_reach_the_generator(gateway: Gateway, asked: pb.Priority.ValueType, given: Priority) -> None:
    await generate(gateway, seed=1, priority=asked)
    assert gateway.parts.generator.priorities == [given]


async def test_an_unknown_priority_is_refused(gateway: Gateway) -> None:
    error = await refused(gateway, seed=1, priority=9)
    assert reason_of(error) == (INVALID, "INVALID_FIELD", "priority")
    allowed = "unset, PRIORITY_BATCH, PRIORITY_NORMAL, PRIORITY_INTERACTIVE"
    assert details_of(error)["ErrorInfo"].metadata["allowed"] == allowed


@pytest.mark.parametrize(
    "field", ["strength", "mask", "second_strength", "adapter", "adapter_scale", "preview_interval_steps"]
)
async def test_what_the_generator_refuses_is_said_of_this_request(gateway: Gateway, field: str) -> None:
    gateway.parts.generator.failures = [InvalidInputError(f"items[0].{field}", "is odd", allowed="even")]
    error = await refused(gateway, seed=1)
    assert reason_of(error) == (INVALID, "INVALID_FIELD", field)
    assert error.details() == f"{field}: is odd; allowed: even"


async def test_what_is_no_picture_is_said_of_this_requests_picture(gateway: Gateway) -> None:
    broken = ImageError(Reason.IMAGE_UNREADABLE, "the file is broken or no picture", field="items[0].initial_image")
    gateway.parts.generator.failures = [broken]
    error = await refused(gateway, seed=1, initial_image=Image(data=b"no picture"), strength=0.5)
    assert reason_of(error) == (INVALID, "IMAGE_UNREADABLE", "initial_image")


async def test_an_adapter_that_is_absent_says_what_is_missing(gateway: Gateway) -> None:
    absent = UnavailableError(Reason.MODEL_UNAVAILABLE, "ink.safetensors is not there", field="items[0].adapter")
    gateway.parts.generator.failures = [absent]
    error = await refused(gateway, seed=1, adapter="ink")
    assert reason_of(error)[:2] == (grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE")
    assert error.details() == "ink.safetensors is not there"


async def test_the_record_says_how_a_picture_began(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    started = GenerationRecord(
        *(RED, "", 1, 10, 3.0, "ddim", 16, 16, "paint", "p1"),
        deterministic=True,
        strength=0.5,
        initial_image_content_hash=content_hash(START),
        mask_content_hash=content_hash(MASK),
        second_strength=0.25,
        adapter="ink",
        adapter_scale=-1.5,
        adapter_revision="i1",
    )
    monkeypatch.setattr(doubles, "record", lambda _: started)
    record = finished(await generate(gateway, seed=1))[0].image.record
    assert (record.deterministic, record.strength, record.second_strength) == (True, 0.5, 0.25)
    assert record.initial_image_content_hash == content_hash(START) and record.mask_content_hash == content_hash(MASK)
    assert (record.adapter, record.adapter_scale, record.adapter_revision) == ("ink", -1.5, "i1")
