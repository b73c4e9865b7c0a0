"""Sessions score by profiles, and always by the version that is active."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from tests.gateway.conftest import TARGET, Gateway, Parts, clear, running
from tests.gateway.failures import details_of, reason_of
from tests.gateway.profiles.asking import activate, create, delete, fit, new_id, ranked, refused

pytestmark = pytest.mark.integration

METRIC = "clpips:ann"


async def test_loop_that_selects_by_a_profile(gateway: Gateway) -> None:
    await create(gateway)
    fitted = await fit(gateway, rankings=[ranked()])
    name = await create_session(gateway, metrics=["pixels", METRIC], selection_metrics=[METRIC])
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=session_pb2.LoopSettings(rounds=2)))
    done = await gateway.finished(name)
    assert done.session.state == session_pb2.Session.STATE_SUCCEEDED
    candidates = [one for each in done.rounds for one in each.candidates]
    for one in candidates:
        score = {score.metric: score for score in one.scores}[METRIC]
        assert score.revision == fitted.active.revision
        assert one.loop_score == score.normalized == pytest.approx(1 - score.raw)
    assert done.session.best.loop_score == max(one.loop_score for one in candidates)


async def test_scores_follow_the_active_version(gateway: Gateway) -> None:
    first = await create(gateway)
    name = await create_session(gateway, metrics=[METRIC])
    assert await scored_by(gateway, name) == first.active.revision
    for seed in range(3):
        fitted = await fit(gateway, rankings=[ranked(seed)])
        assert await scored_by(gateway, name) == fitted.active.revision
    assert (await activate(gateway, 1)).active.revision == await scored_by(gateway, name)


async def test_other_gateways_hear_of_a_fit(database_url: str, parts: Parts) -> None:
    async with running(database_url, parts) as one, running(database_url, parts) as other:
        first = await create(one)
        name = await create_session(one, metrics=[METRIC])
        assert await scored_by(other, name) == first.active.revision
        fitted = await fit(one, rankings=[ranked()])
        while await scored_by(other, name) != fitted.active.revision:
            await asyncio.sleep(0.01)
    await clear(database_url)


@pytest.mark.parametrize("which", ["metrics", "selection_metrics"])
@pytest.mark.parametrize("metric", ["clpips:", "clpips:Ann", "clpips:a\x00"])
async def test_metric_that_no_profile_can_have(gateway: Gateway, which: str, metric: str) -> None:
    error = await refused(create_session(gateway, **{which: [metric]}))
    assert reason_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", f"settings.{which}")


async def test_sessions_name_profiles_that_exist(gateway: Gateway) -> None:
    await create(gateway)
    error = await refused(create_session(gateway, metrics=["pixels", METRIC, "clpips:ben"]))
    assert reason_of(error)[:2] == (grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND")
    assert details_of(error)["ResourceInfo"].resource_name == "ben"
    assert not (await gateway.stub.ListSessions(pb.ListSessionsRequest())).sessions
    assert not gateway.parts.objects.data


async def test_selection_by_a_profile_that_is_not_among_the_metrics(gateway: Gateway) -> None:
    await create(gateway)
    error = await refused(create_session(gateway, metrics=["pixels"], selection_metrics=[METRIC]))
    assert reason_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "settings.selection_metrics")


async def test_create_session_again_answers_the_same_without_the_profile(gateway: Gateway) -> None:
    await create(gateway)
    request = session_request(metrics=[METRIC], request_id=new_id())
    first = await gateway.stub.CreateSession(request)
    await delete(gateway)
    assert await gateway.stub.CreateSession(request) == first


async def test_session_whose_profile_is_gone(gateway: Gateway) -> None:
    await create(gateway)
    name = await create_session(gateway, metrics=[METRIC])
    await scored_by(gateway, name)
    await delete(gateway)
    await submit(gateway, name)
    done = await gateway.finished(name)
    assert done.session.state == session_pb2.Session.STATE_FAILED
    assert done.session.error.reason == "PROFILE_NOT_FOUND"


def session_request(request_id: str = "", **settings: Any) -> pb.CreateSessionRequest:
    """A session on TARGET."""
    return pb.CreateSessionRequest(
        target=image_pb2.Image(data=TARGET),
        settings=session_pb2.SessionSettings(**settings),
        request_id=request_id,
    )


async def create_session(gateway: Gateway, **settings: Any) -> str:
    """Name of a new session."""
    return (await gateway.stub.CreateSession(session_request(**settings))).session.name


async def submit(gateway: Gateway, name: str) -> list[session_pb2.SessionEvent]:
    """Events of a prompt."""
    request = pb.SubmitPromptRequest(name=name, prompt="rgb 150 120 90")
    return [one.event async for one in gateway.stub.SubmitPrompt(request)]


async def scored_by(gateway: Gateway, name: str) -> str:
    """Revision that a new picture of the session is scored by."""
    (scored,) = [one for one in await submit(gateway, name) if one.HasField("candidate_scored")]
    return next(one for one in scored.candidate_scored.candidate.scores if one.metric == METRIC).revision
