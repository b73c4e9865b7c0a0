"""Every kind of bad input, through gRPC, answered as the contract says."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from likeness.gateway.v1 import (
    image_service_pb2,
    image_service_pb2_grpc,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from likeness.types.v1 import image_pb2
from tests.e2e.pictures import ACCEPTED, REFUSED

Sessions = session_service_pb2_grpc.SessionServiceStub
Images = image_service_pb2_grpc.ImageServiceStub


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and blamed field of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)
    assert status is not None, f"no rich status: {caught.value}"
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert "Traceback" not in status.message and "/services/" not in status.message
    return caught.value.code(), info.reason, bad.field_violations[0].field if bad.field_violations else ""


def new_session(channel: grpc.Channel, target: bytes, **settings: object) -> session_pb2.Session:
    request = session_service_pb2.CreateSessionRequest(
        target=image_pb2.Image(data=target), settings=session_pb2.SessionSettings(**settings)
    )
    return Sessions(channel).CreateSession(request, timeout=60).session


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_a_bad_target_is_refused_with_its_reason(channel: grpc.Channel, kind: str) -> None:
    make, reason = REFUSED[kind]
    request = session_service_pb2.CreateSessionRequest(target=image_pb2.Image(data=make()))
    assert refusal(lambda: Sessions(channel).CreateSession(request, timeout=60)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        reason,
        "target",
    )


@pytest.mark.parametrize("kind", sorted(ACCEPTED))
def test_an_awkward_but_whole_target_is_normalized(channel: grpc.Channel, kind: str) -> None:
    info = new_session(channel, ACCEPTED[kind]()).target
    expected = (48, 64) if kind == "exif_rotated" else (64, 48)
    assert (info.width_pixels, info.height_pixels) == expected
    assert len(info.content_hash) == len(info.pixel_hash) == 64


def test_a_missing_target_is_named(channel: grpc.Channel) -> None:
    code, _, field = refusal(lambda: Sessions(channel).CreateSession(session_service_pb2.CreateSessionRequest()))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "target")


@pytest.mark.parametrize("prompt", ["", "   ", "x" * 10_000])
def test_a_prompt_of_bad_length_is_refused(channel: grpc.Channel, target: bytes, prompt: str) -> None:
    session = new_session(channel, target)
    request = session_service_pb2.SubmitPromptRequest(name=session.name, prompt=prompt)
    code, reason, field = refusal(lambda: list(Sessions(channel).SubmitPrompt(request, timeout=60)))
    assert (code, reason, field) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "prompt")


def test_unknown_names_are_not_found(channel: grpc.Channel, target: bytes) -> None:
    def create(**settings: object) -> Callable[[], object]:
        return lambda: new_session(channel, target, **settings)

    get = session_service_pb2.GetSessionRequest(name="sessions/no-such-session")
    assert refusal(lambda: Sessions(channel).GetSession(get))[:2] == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    assert refusal(create(metrics=["no-such-metric"]))[:2] == (grpc.StatusCode.NOT_FOUND, "METRIC_NOT_FOUND")
    assert refusal(create(generator_model="nope"))[:2] == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    session = new_session(channel, target)
    start = session_service_pb2.StartLoopRequest(name=session.name, settings={"strategy": "no-such-strategy"})
    assert refusal(lambda: Sessions(channel).StartLoop(start))[:2] == (grpc.StatusCode.NOT_FOUND, "STRATEGY_NOT_FOUND")
    image = image_service_pb2.GetImageRequest(content_hash="0" * 64)
    assert refusal(lambda: Images(channel).GetImage(image))[:2] == (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"rounds": -1}, "settings.rounds"),
        ({"rounds": 0}, "settings.rounds"),
        ({"candidates": 65}, "settings.candidates"),
        ({"target_score": 1.5}, "settings.target_score"),
        ({"target_score": float("nan")}, "settings.target_score"),
        ({"plateau_rounds": -2}, "settings.plateau_rounds"),
        ({"image_budget": 0}, "settings.image_budget"),
        ({"first_prompt": "x" * 10_000}, "settings.first_prompt"),
    ],
)
def test_loop_settings_outside_their_range_are_named(
    channel: grpc.Channel, target: bytes, settings: dict[str, object], field: str
) -> None:
    session = new_session(channel, target)
    start = session_service_pb2.StartLoopRequest(name=session.name, settings=session_pb2.LoopSettings(**settings))
    code, reason, blamed = refusal(lambda: Sessions(channel).StartLoop(start))
    assert (code, reason, blamed) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)


def test_session_settings_outside_their_range_are_named(channel: grpc.Channel, target: bytes) -> None:
    assert refusal(lambda: new_session(channel, target, steps=0))[2] == "settings.steps"
    assert refusal(lambda: new_session(channel, target, guidance_scale=-1.0))[2] == "settings.guidance_scale"


def test_a_bad_candidate_fails_alone(channel: grpc.Channel, target: bytes) -> None:
    request = image_service_pb2.ScoreImagesRequest(
        target=image_pb2.Image(data=target),
        candidates=[image_pb2.Image(data=target), image_pb2.Image(data=b"broken")],
        metrics=["ssim"],
    )
    good, bad = Images(channel).ScoreImages(request, timeout=60).candidates
    assert good.scores[0].raw == pytest.approx(1.0)
    assert bad.error.reason == "IMAGE_UNREADABLE" and not bad.scores


def test_pages_and_cursors_that_were_never_given_are_refused(channel: grpc.Channel, target: bytes) -> None:
    session = new_session(channel, target)
    listing = session_service_pb2.ListSessionsRequest(page_size=-1)
    assert refusal(lambda: Sessions(channel).ListSessions(listing))[2] == "page_size"
    listing = session_service_pb2.ListSessionsRequest(page_token="made up")
    assert refusal(lambda: Sessions(channel).ListSessions(listing))[2] == "page_token"
    watch = session_service_pb2.WatchSessionRequest(name=session.name, after_cursor="made up")
    assert refusal(lambda: list(Sessions(channel).WatchSession(watch, timeout=30)))[2] == "after_cursor"
