"""request_id: the same call again changes nothing, another call under the same id is refused."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from sqlalchemy import text

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration


async def test_create_again_returns_the_same_session(gateway: Gateway) -> None:
    request = create_request()
    first = await gateway.stub.CreateSession(request)
    await gateway.stub.SubmitFeedback(pb.SubmitFeedbackRequest(name=first.session.name, text="hello"))
    assert await gateway.stub.CreateSession(request) == first
    assert len((await gateway.stub.ListSessions(pb.ListSessionsRequest())).sessions) == 1


async def test_ten_creates_at_once_make_one_session(gateway: Gateway) -> None:
    request = create_request()
    answers = await asyncio.gather(*(gateway.stub.CreateSession(request) for _ in range(10)))
    assert len({one.session.name for one in answers}) == 1
    assert len((await gateway.stub.ListSessions(pb.ListSessionsRequest())).sessions) == 1


async def test_start_again_starts_nothing(gateway: Gateway) -> None:
    name = await gateway.create()
    settings = session_pb2.LoopSettings(rounds=1)
    request = pb.StartLoopRequest(name=name, settings=settings, request_id=str(uuid.uuid4()))
    first = await gateway.stub.StartLoop(request)
    # While it runs, and after it: the answer of the first call, not SESSION_BUSY and not a second loop.
    assert await gateway.stub.StartLoop(request) == first
    await gateway.finished(name)
    assert await gateway.stub.StartLoop(request) == first
    assert (await gateway.finished(name)).session.round_count == 1


async def test_submit_again_follows_the_same_round(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    name = await gateway.create()
    request = pb.SubmitPromptRequest(name=name, prompt="rgb 1 2 3", request_id=str(uuid.uuid4()))
    call = gateway.stub.SubmitPrompt(request)
    await call.read()
    again = asyncio.create_task(submitted(gateway, request))
    await asyncio.sleep(0.05)
    gateway.parts.generator.gate.set()
    during = await again
    after = await submitted(gateway, request)
    assert [one.sequence for one in during] == [one.sequence for one in after] == list(range(1, 7))
    assert (await gateway.finished(name)).session.round_count == 1


async def test_submit_again_after_other_rounds_ends_with_its_own(gateway: Gateway) -> None:
    name = await gateway.create()
    request = pb.SubmitPromptRequest(name=name, prompt="rgb 1 2 3", request_id=str(uuid.uuid4()))
    first = await submitted(gateway, request)
    await submitted(gateway, pb.SubmitPromptRequest(name=name, prompt="rgb 4 5 6"))
    assert await submitted(gateway, request) == first


async def test_feedback_and_ranking_again_are_recorded_once(gateway: Gateway) -> None:
    name = await gateway.create()
    await submitted(gateway, pb.SubmitPromptRequest(name=name, prompt="rgb 1 2 3", image_count=2))
    feedback = pb.SubmitFeedbackRequest(name=name, text="move 9 9 9", request_id=str(uuid.uuid4()))
    ranking = pb.RankImagesRequest(name=name, candidate_ids=["r1c1", "r1c2"], request_id=str(uuid.uuid4()))
    assert await gateway.stub.SubmitFeedback(feedback) == await gateway.stub.SubmitFeedback(feedback)
    assert await gateway.stub.RankImages(ranking) == await gateway.stub.RankImages(ranking)
    assert gateway.parts.refiner.calls.count("revise") == 1
    kinds = [one.WhichOneof("event") for one in await gateway.events(name)]
    assert kinds.count("feedback_given") == kinds.count("candidates_ranked") == 1


async def test_pause_resume_and_cancel_again_have_one_effect_and_one_answer(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    pause = pb.PauseLoopRequest(name=name, at_once=True, request_id=str(uuid.uuid4()))
    together = await asyncio.gather(*(gateway.stub.PauseLoop(pause) for _ in range(3)))
    resume = pb.ResumeLoopRequest(name=name, request_id=str(uuid.uuid4()))
    running = await gateway.stub.ResumeLoop(resume)
    assert await gateway.stub.ResumeLoop(resume) == running
    cancel = pb.CancelLoopRequest(name=name, request_id=str(uuid.uuid4()))
    cancelled = await gateway.stub.CancelLoop(cancel)
    # What came later does not change what was answered.
    assert await gateway.stub.CancelLoop(cancel) == cancelled
    assert await gateway.stub.ResumeLoop(resume) == running
    assert all(one == together[0] for one in (*together, await gateway.stub.PauseLoop(pause)))
    events = await gateway.events(name)
    states = [one.state_changed.state for one in events if one.WhichOneof("event") == "state_changed"]
    session = session_pb2.Session
    expected = [session.STATE_RUNNING, session.STATE_PAUSED, session.STATE_RUNNING, session.STATE_CANCELLED]
    assert states == expected
    gateway.parts.generator.gate.set()


async def test_delete_again_is_no_error(gateway: Gateway) -> None:
    name = await gateway.create()
    delete = pb.DeleteSessionRequest(name=name, request_id=str(uuid.uuid4()))
    await asyncio.gather(*(gateway.stub.DeleteSession(delete) for _ in range(3)))
    await gateway.stub.DeleteSession(delete)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=name))
    assert reason_of(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_another_body_or_method_under_the_id_is_refused(gateway: Gateway) -> None:
    name = await gateway.create()
    request_id = str(uuid.uuid4())
    await gateway.stub.SubmitFeedback(pb.SubmitFeedbackRequest(name=name, text="one", request_id=request_id))
    for call in (
        gateway.stub.SubmitFeedback(pb.SubmitFeedbackRequest(name=name, text="two", request_id=request_id)),
        gateway.stub.StartLoop(pb.StartLoopRequest(name=name, request_id=request_id)),
        gateway.stub.PauseLoop(pb.PauseLoopRequest(name=name, request_id=request_id)),
        gateway.stub.ResumeLoop(pb.ResumeLoopRequest(name=name, request_id=request_id)),
        gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name, request_id=request_id)),
        gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=name, request_id=request_id)),
        gateway.stub.CreateSession(create_request(request_id)),
        gateway.stub.SubmitPrompt(pb.SubmitPromptRequest(name=name, prompt="one", request_id=request_id)).read(),
        gateway.stub.RankImages(pb.RankImagesRequest(name=name, candidate_ids=["a", "b"], request_id=request_id)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason_of(caught.value) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_call_that_failed_may_come_again_under_its_id(gateway: Gateway) -> None:
    name = await gateway.create()
    request_id = str(uuid.uuid4())
    ranking = pb.RankImagesRequest(name=name, candidate_ids=["r1c1", "r1c2"], request_id=request_id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.RankImages(ranking)
    assert reason_of(caught.value) == (grpc.StatusCode.NOT_FOUND, "CANDIDATE_NOT_FOUND")
    await submitted(gateway, pb.SubmitPromptRequest(name=name, prompt="rgb 1 2 3", image_count=2))
    assert (await gateway.stub.RankImages(ranking)).ranking.candidate_ids


async def test_expired_id_is_free_again(gateway: Gateway) -> None:
    request = create_request()
    first = await gateway.stub.CreateSession(request)
    async with gateway.server.database.transaction() as connection:
        await connection.execute(text("UPDATE requests SET expire_time = now() - interval '1 second'"))
    second = await gateway.stub.CreateSession(request)
    assert second.session.name != first.session.name
    assert await gateway.stub.CreateSession(request) == second


@pytest.mark.parametrize("request_id", ["1", "not-a-uuid", "{" + str(uuid.uuid4()) + "}", uuid.uuid4().hex])
async def test_id_that_is_no_uuid(gateway: Gateway, request_id: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.CreateSession(create_request(request_id))
    assert reason_of(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "request_id")


def create_request(request_id: str = "") -> pb.CreateSessionRequest:
    """A request to create a session."""
    target = image_pb2.Image(data=TARGET)
    return pb.CreateSessionRequest(target=target, request_id=request_id or str(uuid.uuid4()))


async def submitted(gateway: Gateway, request: pb.SubmitPromptRequest) -> list[session_pb2.SessionEvent]:
    """Durable events of a submitted prompt."""
    return [one.event async for one in gateway.stub.SubmitPrompt(request) if one.event.sequence]
