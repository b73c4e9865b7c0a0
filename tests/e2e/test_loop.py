"""The whole path: a picture in, its prompt and its likeness out, and everything that may happen on the way."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator

import grpc
import pytest
from PIL import Image

from likeness.gateway.v1 import (
    image_service_pb2,
    image_service_pb2_grpc,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from likeness.types.v1 import image_pb2

State = session_pb2.Session.State


@pytest.fixture
def sessions(channel: grpc.Channel) -> session_service_pb2_grpc.SessionServiceStub:
    return session_service_pb2_grpc.SessionServiceStub(channel)


def new_session(sessions, target: bytes, **settings: int) -> session_pb2.Session:
    request = session_service_pb2.CreateSessionRequest(
        target=image_pb2.Image(data=target),
        settings=session_pb2.SessionSettings(
            metrics=["clip-embedded", "ssim"], selection_metrics=["clip-embedded"], seed=5, **settings
        ),
    )
    return sessions.CreateSession(request, timeout=60).session


@pytest.fixture
def session(sessions: session_service_pb2_grpc.SessionServiceStub, target: bytes) -> session_pb2.Session:
    return new_session(sessions, target)


def start(sessions, session, **settings) -> None:
    request = session_service_pb2.StartLoopRequest(name=session.name, settings=session_pb2.LoopSettings(**settings))
    sessions.StartLoop(request, timeout=60)


def watch(sessions, session, after: str = "", timeout: float = 200) -> Iterator[session_pb2.SessionEvent]:
    request = session_service_pb2.WatchSessionRequest(name=session.name, after_cursor=after, until_idle=True)
    for response in sessions.WatchSession(request, timeout=timeout):
        yield response.event


def test_a_loop_runs_to_its_end_and_leaves_a_reproducible_picture(channel, sessions, session) -> None:
    start(sessions, session, rounds=2, candidates=2)
    events = list(watch(sessions, session))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "snapshot"
    durable = [event.sequence for event in events if event.sequence and event.WhichOneof("event") != "snapshot"]
    assert durable == list(range(durable[0], durable[0] + len(durable))), "events must be in order and without gaps"
    assert kinds.count("round_started") == kinds.count("round_finished") == 2
    assert kinds.count("candidate_scored") == 4
    assert "candidate_progress" in kinds

    answer = sessions.GetSession(session_service_pb2.GetSessionRequest(name=session.name), timeout=60)
    assert answer.session.state == State.STATE_SUCCEEDED
    assert answer.session.stop_reason == session_pb2.STOP_REASON_ROUNDS_DONE
    assert answer.session.tree.base_caption
    candidates = [candidate for round_ in answer.rounds for candidate in round_.candidates]
    assert answer.session.best.loop_score == max(candidate.loop_score for candidate in candidates)
    assert {score.metric for score in answer.session.best.scores} == {"clip-embedded", "ssim"}

    stub = image_service_pb2_grpc.ImageServiceStub(channel)
    best = answer.session.best
    data = stub.GetImage(image_service_pb2.GetImageRequest(content_hash=best.image.content_hash), timeout=60).data
    record = json.loads(Image.open(io.BytesIO(data)).text["likeness"])
    assert record["prompt"] == best.prompt and int(record["seed"]) == best.record.seed
    assert record["model_revision"] == best.record.model_revision != ""


def test_a_watch_resumes_at_every_cursor_without_loss_or_repeat(sessions, session) -> None:
    start(sessions, session, rounds=1, candidates=2)
    whole = [event for event in watch(sessions, session) if event.sequence and not event.HasField("snapshot")]
    for position, event in enumerate(whole):
        rest = [e.sequence for e in watch(sessions, session, event.cursor) if e.sequence and not e.HasField("snapshot")]
        assert rest == [e.sequence for e in whole[position + 1 :]]


def test_cancel_stops_within_one_denoising_step(sessions, target) -> None:
    # So many steps that the cancel is there long before the pictures are.
    session = new_session(sessions, target, steps=100)
    start(sessions, session, rounds=50, candidates=4)
    for event in watch(sessions, session):
        if event.WhichOneof("event") == "candidate_progress" and event.candidate_progress.step >= 3:
            break
    stopped = sessions.CancelLoop(session_service_pb2.CancelLoopRequest(name=session.name), timeout=60).session
    assert stopped.state == State.STATE_CANCELLED
    assert stopped.stop_reason == session_pb2.STOP_REASON_CANCELLED
    rounds = sessions.GetSession(session_service_pb2.GetSessionRequest(name=session.name), timeout=60).rounds
    unfinished = [c for c in rounds[-1].candidates if not c.HasField("image")]
    assert unfinished, "the round was cancelled in the middle of its pictures"

    # The denoiser is free at once: a picture does not wait for the cancelled ones, which had fewer steps left.
    request = session_service_pb2.SubmitPromptRequest(
        name=session.name, prompt="a large red car in the center at sunset"
    )
    kinds = [r.event.WhichOneof("event") for r in sessions.SubmitPrompt(request, timeout=120)]
    assert "candidate_scored" in kinds
    again = sessions.GetSession(session_service_pb2.GetSessionRequest(name=session.name), timeout=60)
    assert again.rounds[:-1] == rounds, "nothing may be written after the cancel"


def test_the_human_loop(sessions, session) -> None:
    prompt = "a large red car in the center on a meadow, plain style, high quality"
    request = session_service_pb2.SubmitPromptRequest(name=session.name, prompt=prompt, image_count=2)
    list(sessions.SubmitPrompt(request, timeout=120))
    feedback = session_service_pb2.SubmitFeedbackRequest(name=session.name, text="make the car blue")
    revised = sessions.SubmitFeedback(feedback, timeout=60)
    assert "blue" in revised.revised_prompt and "red" not in revised.revised_prompt
    answer = sessions.GetSession(session_service_pb2.GetSessionRequest(name=session.name), timeout=60)
    ids = [candidate.id for candidate in answer.rounds[0].candidates]
    ranking = session_service_pb2.RankImagesRequest(name=session.name, candidate_ids=list(reversed(ids)))
    sessions.RankImages(ranking, timeout=60)
    answer = sessions.GetSession(session_service_pb2.GetSessionRequest(name=session.name), timeout=60)
    assert list(answer.rankings[0].candidate_ids) == list(reversed(ids))
    assert answer.session.state == State.STATE_WAITING


def test_the_same_request_id_has_one_effect(sessions, session) -> None:
    request_id = str(uuid.uuid4())
    request = session_service_pb2.SubmitPromptRequest(
        name=session.name, prompt="a small cat at the top", request_id=request_id
    )
    for _ in range(2):
        list(sessions.SubmitPrompt(request, timeout=120))
    answer = sessions.GetSession(session_service_pb2.GetSessionRequest(name=session.name), timeout=60)
    assert len(answer.rounds) == 1
    other = session_service_pb2.SubmitPromptRequest(name=session.name, prompt="another", request_id=request_id)
    with pytest.raises(grpc.RpcError) as caught:
        list(sessions.SubmitPrompt(other, timeout=60))
    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS


def test_messages_up_to_the_limit_pass_and_one_byte_more_does_not(cluster) -> None:
    limit = 64 * 1024 * 1024
    # No limit of its own, so that the server's is what answers.
    channel = grpc.insecure_channel(cluster.address, options=[("grpc.max_send_message_length", -1)])
    call = channel.unary_unary(
        "/likeness.gateway.v1.ImageService/UploadImage",
        request_serializer=lambda data: data,
        response_deserializer=image_service_pb2.UploadImageResponse.FromString,
    )
    # Field 1, wire type 2, then a four-byte length: five bytes of header before the payload.
    payload = limit - 5
    at_limit = image_service_pb2.UploadImageRequest(data=b"\0" * payload).SerializeToString()
    assert len(at_limit) == limit
    with pytest.raises(grpc.RpcError) as caught:
        call(at_limit, timeout=60)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, "it arrived, and is refused as a picture"
    with pytest.raises(grpc.RpcError) as caught:
        call(at_limit + b"\0", timeout=60)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
