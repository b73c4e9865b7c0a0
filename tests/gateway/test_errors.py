"""Bad requests through the real edge: code, reason, field and allowed values."""

from __future__ import annotations

import io
import math
import uuid
import zlib
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from PIL import Image

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from services.common.errors import Reason, UnavailableError
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.failures import details_of, reason_of

pytestmark = pytest.mark.integration

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
LONG = "x" * 10_000


def picture(**save: Any) -> bytes:
    """A small picture file."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(out, **save)
    return out.getvalue()


def animated() -> bytes:
    """A GIF of two frames."""
    frames = [Image.new("RGB", (16, 16), shade) for shade in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


def bomb() -> bytes:
    """A PNG header that promises ten thousand million pixels."""
    data = bytearray(picture(format="PNG"))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (image_pb2.Image(), ("INVALID_FIELD", "target")),
        (image_pb2.Image(data=b""), ("IMAGE_UNREADABLE", "target")),
        (image_pb2.Image(data=b"no picture"), ("IMAGE_UNREADABLE", "target")),
        (image_pb2.Image(data=picture(format="PNG")[:-30]), ("IMAGE_UNREADABLE", "target")),
        (image_pb2.Image(data=animated()), ("IMAGE_ANIMATED", "target")),
        (image_pb2.Image(data=bomb()), ("IMAGE_TOO_LARGE", "target")),
        (image_pb2.Image(data=b"\0" * (33 * 1024 * 1024)), ("IMAGE_TOO_LARGE", "target")),
        (image_pb2.Image(content_hash=""), ("INVALID_FIELD", "target.content_hash")),
        (image_pb2.Image(content_hash="A" * 64), ("INVALID_FIELD", "target.content_hash")),
    ],
    ids=["none", "empty", "text", "truncated", "animated", "bomb", "33 MiB", "no hash", "upper-case hash"],
)
async def test_bad_targets(gateway: Gateway, target: image_pb2.Image, reason: tuple[str, str]) -> None:
    error = await refused(gateway, "CreateSession", pb.CreateSessionRequest(target=target))
    assert reason_of(error) == (INVALID, *reason)
    assert not gateway.parts.objects.data


async def test_unknown_target_hash(gateway: Gateway) -> None:
    request = pb.CreateSessionRequest(target=image_pb2.Image(content_hash="0" * 64))
    error = await refused(gateway, "CreateSession", request)
    assert reason_of(error)[:2] == (NOT_FOUND, "IMAGE_NOT_FOUND")
    assert details_of(error)["ResourceInfo"].resource_name == "0" * 64


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"steps": 0}, "settings.steps"),
        ({"steps": -1}, "settings.steps"),
        ({"steps": 51}, "settings.steps"),
        ({"guidance_scale": -0.1}, "settings.guidance_scale"),
        ({"guidance_scale": 50.1}, "settings.guidance_scale"),
        ({"guidance_scale": math.nan}, "settings.guidance_scale"),
        ({"guidance_scale": math.inf}, "settings.guidance_scale"),
        ({"metrics": ["pixels", "pixels"]}, "settings.metrics"),
        ({"metrics": [str(i) for i in range(33)]}, "settings.metrics"),
        ({"metrics": ["pixels"], "selection_metrics": ["red"]}, "settings.selection_metrics"),
    ],
    ids=str,
)
async def test_bad_session_settings(gateway: Gateway, settings: dict[str, Any], field: str) -> None:
    request = create_request(settings=session_pb2.SessionSettings(**settings))
    error = await refused(gateway, "CreateSession", request)
    assert reason_of(error) == (INVALID, "INVALID_FIELD", field)
    assert "allowed" in details_of(error)["ErrorInfo"].metadata
    assert not (await gateway.stub.ListSessions(pb.ListSessionsRequest())).sessions


@pytest.mark.parametrize(
    ("settings", "reason", "known"),
    [
        ({"metrics": ["nope"]}, "METRIC_NOT_FOUND", "pixels"),
        ({"metrics": ["lpips-squeeze"]}, "METRIC_NOT_FOUND", "does not exist: its weights are not here; known: blue"),
        ({"selection_metrics": ["lpips-squeeze"]}, "METRIC_NOT_FOUND", "its weights are not here"),
        ({"selection_metrics": ["nope"]}, "METRIC_NOT_FOUND", "pixels"),
        ({"generator_model": "nope"}, "MODEL_NOT_FOUND", "paint-large"),
    ],
    ids=str,
)
async def test_unknown_metrics_and_models(gateway: Gateway, settings: dict[str, Any], reason: str, known: str) -> None:
    request = create_request(settings=session_pb2.SessionSettings(**settings))
    error = await refused(gateway, "CreateSession", request)
    assert reason_of(error)[:2] == (NOT_FOUND, reason)
    assert known in error.details()


@pytest.mark.parametrize("name", ["x" * 201, "a\0b"], ids=["too long", "NUL"])
async def test_bad_display_names(gateway: Gateway, name: str) -> None:
    error = await refused(gateway, "CreateSession", create_request(display_name=name))
    assert reason_of(error) == (INVALID, "INVALID_FIELD", "display_name")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"rounds": 0}, "settings.rounds"),
        ({"rounds": -3}, "settings.rounds"),
        ({"rounds": 101}, "settings.rounds"),
        ({"candidates": 0}, "settings.candidates"),
        ({"candidates": 65}, "settings.candidates"),
        ({"target_score": 0.0}, "settings.target_score"),
        ({"target_score": 1.01}, "settings.target_score"),
        ({"target_score": math.nan}, "settings.target_score"),
        ({"plateau_rounds": 0}, "settings.plateau_rounds"),
        ({"plateau_gain": -0.1}, "settings.plateau_gain"),
        ({"plateau_gain": math.nan}, "settings.plateau_gain"),
        ({"image_budget": 0}, "settings.image_budget"),
        ({"image_budget": 2**31 - 1}, "settings.image_budget"),
        ({"first_prompt": LONG}, "settings.first_prompt"),
        ({"first_prompt": "a\0b"}, "settings.first_prompt"),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_bad_loop_settings(gateway: Gateway, settings: dict[str, Any], field: str) -> None:
    name = await gateway.create()
    request = pb.StartLoopRequest(name=name, settings=session_pb2.LoopSettings(**settings))
    error = await refused(gateway, "StartLoop", request)
    assert reason_of(error) == (INVALID, "INVALID_FIELD", field)


@pytest.mark.parametrize("strategy", ["nope", "human"])
async def test_unknown_strategies(gateway: Gateway, strategy: str) -> None:
    name = await gateway.create()
    settings = session_pb2.LoopSettings(strategy=strategy)
    error = await refused(gateway, "StartLoop", pb.StartLoopRequest(name=name, settings=settings))
    assert reason_of(error)[:2] == (NOT_FOUND, "STRATEGY_NOT_FOUND") and "painter" in error.details()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n\t "}, "prompt"),
        ({"prompt": LONG}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": "a", "image_count": 0}, "image_count"),
        ({"prompt": "a", "image_count": -1}, "image_count"),
        ({"prompt": "a", "image_count": 65}, "image_count"),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_bad_prompts(gateway: Gateway, fields: dict[str, Any], field: str) -> None:
    name = await gateway.create()
    error = await refused(gateway, "SubmitPrompt", pb.SubmitPromptRequest(name=name, **fields))
    assert reason_of(error) == (INVALID, "INVALID_FIELD", field)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": ""}, (INVALID, "INVALID_FIELD", "text")),
        ({"text": LONG}, (INVALID, "INVALID_FIELD", "text")),
        ({"text": "more", "aspect": 99}, (INVALID, "INVALID_FIELD", "aspect")),
        ({"text": "more", "candidate_id": "r9c9"}, (NOT_FOUND, "CANDIDATE_NOT_FOUND")),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_bad_feedback(gateway: Gateway, fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    name = await gateway.create()
    error = await refused(gateway, "SubmitFeedback", pb.SubmitFeedbackRequest(name=name, **fields))
    assert reason_of(error)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], (INVALID, "INVALID_FIELD", "candidate_ids")),
        (["r1c1"], (INVALID, "INVALID_FIELD", "candidate_ids")),
        (["r1c1", "r1c1"], (INVALID, "INVALID_FIELD", "candidate_ids")),
        (["r1c1", "r1c3"], (INVALID, "INVALID_FIELD", "candidate_ids")),
        (["r1c1", "r7c1"], (NOT_FOUND, "CANDIDATE_NOT_FOUND")),
    ],
    ids=["none", "one", "twice", "without a picture", "unknown"],
)
async def test_bad_rankings(gateway: Gateway, ids: list[str], expected: tuple[Any, ...]) -> None:
    gateway.parts.generator.fail_item = "r1c3"
    name = await gateway.create()
    prompt = pb.SubmitPromptRequest(name=name, prompt="rgb 1 2 3", image_count=3)
    assert [one async for one in gateway.stub.SubmitPrompt(prompt)]
    error = await refused(gateway, "RankImages", pb.RankImagesRequest(name=name, candidate_ids=ids))
    assert reason_of(error)[: len(expected)] == expected


@pytest.mark.parametrize(
    "request_message",
    [
        pb.GetSessionRequest(),
        pb.DeleteSessionRequest(),
        pb.CancelLoopRequest(),
        pb.StartLoopRequest(),
        pb.SubmitPromptRequest(prompt="a"),
        pb.SubmitFeedbackRequest(text="a"),
        pb.RankImagesRequest(candidate_ids=["a", "b"]),
        pb.WatchSessionRequest(),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_bad_and_unknown_names(gateway: Gateway, request_message: Any) -> None:
    method = type(request_message).__name__.removesuffix("Request")
    for name in ("", "nope", "sessions/", "sessions/a/rounds/1", "sessions/" + "a" * 65, "sessions/a b"):
        request_message.name = name
        error = await refused(gateway, method, request_message)
        assert reason_of(error) == (INVALID, "INVALID_FIELD", "name")
    for name in ("sessions/nope", f"sessions/{uuid.uuid4().hex}"):
        request_message.name = name
        error = await refused(gateway, method, request_message)
        assert reason_of(error) == (NOT_FOUND, "SESSION_NOT_FOUND")
        assert details_of(error)["ResourceInfo"].resource_name == name


async def test_busy_session(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    for method, request in (
        ("StartLoop", pb.StartLoopRequest(name=name)),
        ("SubmitPrompt", pb.SubmitPromptRequest(name=name, prompt="a")),
        ("SubmitFeedback", pb.SubmitFeedbackRequest(name=name, text="a")),
    ):
        error = await refused(gateway, method, request)
        assert reason_of(error) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_BUSY")
    await gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name))


async def test_defect_of_ours_says_nothing_of_itself(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> None:
        raise RuntimeError("secret path /etc/passwd")

    monkeypatch.setattr(gateway.parts.generator, "list_models", broken)
    error = await refused(gateway, "CreateSession", create_request())
    assert reason_of(error) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in str(error) and "secret" not in str(error.trailing_metadata())


async def test_backend_that_is_away_is_unavailable_with_a_delay(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise UnavailableError(Reason.BACKEND_UNAVAILABLE, "refiner: unavailable", retry_after_seconds=2.0)

    name = await gateway.create()
    monkeypatch.setattr(gateway.parts.refiner, "list_strategies", away)
    error = await refused(gateway, "StartLoop", pb.StartLoopRequest(name=name))
    assert reason_of(error) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
    assert details_of(error)["RetryInfo"].retry_delay.seconds == 2


async def test_details_fit_into_the_trailers(gateway: Gateway) -> None:
    request = create_request(settings=session_pb2.SessionSettings(metrics=["\u4e2d" * 100_000]))
    error = await refused(gateway, "CreateSession", request)
    assert reason_of(error)[:2] == (NOT_FOUND, "METRIC_NOT_FOUND")


def create_request(**fields: Any) -> pb.CreateSessionRequest:
    """A request to create a session on a good target."""
    return pb.CreateSessionRequest(target=image_pb2.Image(data=TARGET), **fields)


async def refused(gateway: Gateway, method: str, request: Message) -> grpc.aio.AioRpcError:
    """The error of a call that must fail, streaming or not."""
    call = getattr(gateway.stub, method)(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "read"):
            await call.read()
        await call
    return caught.value
