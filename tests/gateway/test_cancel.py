"""Cancelling and deleting, in the middle of a step and between steps, here and on another gateway."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.decoding import image_info
from tests.gateway.conftest import TARGET, Gateway, Parts, running
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration

CANCELLED = session_pb2.Session.STATE_CANCELLED


async def test_cancel_stops_the_denoiser_and_returns_when_it_is_stored(gateway: Gateway) -> None:
    name = await held_loop(gateway)
    response = await gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name))
    assert response.session.state == CANCELLED
    assert response.session.stop_reason == session_pb2.STOP_REASON_CANCELLED
    steps = gateway.parts.generator.steps_done
    gateway.parts.generator.gate.set()
    await asyncio.sleep(0.05)
    assert gateway.parts.generator.cancelled == 1 and gateway.parts.generator.steps_done == steps
    last = (await gateway.events(name))[-1].state_changed
    assert last.state == CANCELLED and last.stop_reason == session_pb2.STOP_REASON_CANCELLED


async def test_cancelled_session_takes_a_prompt_and_another_loop(gateway: Gateway) -> None:
    name = await held_loop(gateway)
    await gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name))
    gateway.parts.generator.gate.set()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    done = await gateway.finished(name)
    assert done.session.state == session_pb2.Session.STATE_SUCCEEDED
    assert [one.number for one in done.rounds] == [1, 2, 3, 4]
    # What the cancelled round had not made stays unmade.
    assert not any(one.HasField("image") for one in done.rounds[0].candidates)


async def test_cancel_of_a_loop_that_waits_its_turn(database_url: str, parts: Parts, gateway: Gateway) -> None:
    async with running(database_url, parts, max_running_sessions=1) as one:
        first, second = await held_loop(one), await one.create()
        await one.stub.StartLoop(pb.StartLoopRequest(name=second))
        response = await one.stub.CancelLoop(pb.CancelLoopRequest(name=second))
        assert response.session.state == CANCELLED and response.session.round_count == 0
        await one.stub.CancelLoop(pb.CancelLoopRequest(name=first))


async def test_cancel_leaves_other_sessions_alone(gateway: Gateway) -> None:
    first, second = await held_loop(gateway), await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=second))
    await gateway.stub.CancelLoop(pb.CancelLoopRequest(name=first))
    gateway.parts.generator.gate.set()
    assert (await gateway.finished(second)).session.state == session_pb2.Session.STATE_SUCCEEDED


async def test_cancel_reaches_the_gateway_that_runs_the_loop(gateway: Gateway, database_url: str) -> None:
    name = await held_loop(gateway)
    async with running(database_url, Parts()) as other:
        response = await other.stub.CancelLoop(pb.CancelLoopRequest(name=name))
    assert response.session.state == CANCELLED and gateway.parts.generator.cancelled == 1


async def test_cancel_of_an_orphan_needs_no_other_gateway(gateway: Gateway, parts: Parts) -> None:
    name = await held_loop(gateway)
    # As if the gateway that ran it had died: nobody holds the lease, and nobody may claim it meanwhile.
    await gateway.server.runner._ticker.close()
    await gateway.server.runner._leases.release(gateway.server.runner.owner)
    response = await gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name))
    assert response.session.state == CANCELLED


async def test_two_cancels_at_once(gateway: Gateway) -> None:
    name = await held_loop(gateway)
    calls = [gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name)) for _ in range(2)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert any(getattr(one, "session", None) and one.session.state == CANCELLED for one in answers)
    for one in answers:
        if isinstance(one, grpc.aio.AioRpcError):
            assert reason_of(one)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_RUNNING")


async def test_cancel_of_an_idle_session(gateway: Gateway) -> None:
    name = await gateway.create()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name))
    assert reason_of(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_RUNNING")


async def test_delete_while_running_cancels_and_takes_its_pictures_along(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    await gateway.finished(name)
    gateway.parts.generator.gate.clear()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    await in_generator(gateway)
    assert len(gateway.parts.objects.data) > 1
    await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=name))
    assert gateway.parts.generator.cancelled == 1 and gateway.parts.objects.data == {}
    for call in (
        gateway.stub.GetSession(pb.GetSessionRequest(name=name)),
        gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=name)),
        gateway.stub.CancelLoop(pb.CancelLoopRequest(name=name)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason_of(caught.value) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_delete_keeps_pictures_that_others_use(gateway: Gateway) -> None:
    first, second = await gateway.create(), await gateway.create()
    for name in (first, second):
        prompt = pb.SubmitPromptRequest(name=name, prompt="rgb 1 2 3")
        assert [one async for one in gateway.stub.SubmitPrompt(prompt)]
    assert len(gateway.parts.objects.data) == 2  # the target and the one picture that both made
    await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=first))
    assert len(gateway.parts.objects.data) == 2
    await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=second))
    assert gateway.parts.objects.data == {}


async def test_delete_keeps_what_was_uploaded_by_itself(gateway: Gateway) -> None:
    await gateway.server.images.add("default", TARGET, await image_info(TARGET))
    name = await gateway.create()
    await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=name))
    assert list(gateway.parts.objects.data.values()) == [TARGET]


async def test_pictures_left_behind_by_a_dead_gateway_are_swept(gateway: Gateway) -> None:
    name = await gateway.create()
    hashes = await gateway.server.sessions._sessions.delete(DEFAULT_TENANT, name.removeprefix("sessions/"))
    assert hashes and gateway.parts.objects.data
    # The gateway's own first sweep may come in between: either of the two takes the picture away.
    await gateway.server.images.sweep()
    assert gateway.parts.objects.data == {}


async def held_loop(gateway: Gateway) -> str:
    """A session whose loop hangs in its first denoising step."""
    gateway.parts.generator.gate.clear()
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    await in_generator(gateway)
    return name


async def in_generator(gateway: Gateway) -> None:
    """Waits until a picture is being made."""
    calls = gateway.parts.generator
    while len(calls.calls) == calls.cancelled + calls.finished:
        await asyncio.sleep(0.005)
