"""Watching: every event once, from any cursor, by any number of clients."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from services.gateway import domain
from tests.gateway.conftest import Gateway, Parts, running
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration


async def test_every_cursor_resumes_with_a_snapshot_and_misses_nothing(gateway: Gateway) -> None:
    name = await finished_loop(gateway)
    everything = await watch(gateway, name)
    durable = everything[1:]
    assert [one.sequence for one in durable] == list(range(1, len(durable) + 1))
    for position, event in enumerate([everything[0], *durable]):
        snapshot, *later = await watch(gateway, name, event.cursor)
        assert [one.sequence for one in later] == list(range(position + 1, len(durable) + 1))
        assert snapshot.sequence == 0 and snapshot.cursor == event.cursor
        assert snapshot.snapshot.session.last_event_sequence == position
        assert snapshot.snapshot.session.round_count == len(snapshot.snapshot.rounds)
    # Folding all events gives what GetSession reads from the tables.
    full = await gateway.stub.GetSession(pb.GetSessionRequest(name=name))
    assert snapshot.snapshot.session == full.session
    assert list(snapshot.snapshot.rounds) == list(full.rounds)


async def test_snapshot_shows_the_session_as_it_was(gateway: Gateway) -> None:
    name = await finished_loop(gateway)
    first, *durable = await watch(gateway, name)
    assert first.snapshot.session.state == session_pb2.Session.STATE_WAITING
    assert not first.snapshot.rounds and not first.snapshot.session.HasField("best")
    scored = next(one for one in durable if one.WhichOneof("event") == "candidate_scored")
    snapshot = (await watch(gateway, name, scored.cursor))[0].snapshot
    assert snapshot.session.state == session_pb2.Session.STATE_RUNNING
    assert snapshot.session.best.id == scored.candidate_scored.candidate.id
    assert not snapshot.rounds[0].best_candidate_id


async def test_watchers_of_one_loop_all_see_everything_live(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    watchers = [asyncio.create_task(gateway.events(name)) for _ in range(8)]
    await asyncio.sleep(0.05)
    gateway.parts.generator.gate.set()
    seen = await asyncio.gather(*watchers)
    assert len({len(one) for one in seen}) == 1
    assert [one.sequence for one in seen[0]] == list(range(1, len(seen[0]) + 1))


async def test_client_that_drops_and_returns_sees_each_event_once(gateway: Gateway) -> None:
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    seen: list[int] = []
    cursor = ""
    while True:
        # A connection that breaks after every two events.
        call = gateway.stub.WatchSession(pb.WatchSessionRequest(name=name, after_cursor=cursor, until_idle=True))
        got = 0
        async for one in call:
            cursor = one.event.cursor
            if one.event.sequence:
                seen.append(one.event.sequence)
                got += 1
            if got == 2:
                call.cancel()
                break
        if got < 2:
            break
    assert seen == list(range(1, len(seen) + 1)) and len(seen) > 20


async def test_watch_waits_for_what_comes_and_ends_when_the_session_is_deleted(gateway: Gateway) -> None:
    name = await gateway.create()
    call = gateway.stub.WatchSession(pb.WatchSessionRequest(name=name))
    assert (await call.read()).event.HasField("snapshot")
    await gateway.stub.SubmitFeedback(pb.SubmitFeedbackRequest(name=name, text="hello"))
    assert (await call.read()).event.feedback_given.feedback.text == "hello"
    await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=name))
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_until_idle_ends_at_once_on_an_idle_session(gateway: Gateway) -> None:
    name = await gateway.create()
    (only,) = await watch(gateway, name)
    assert only.HasField("snapshot") and only.cursor


async def test_watch_on_another_gateway_is_woken(gateway: Gateway, database_url: str) -> None:
    name = await gateway.create()
    async with running(database_url, Parts()) as other:
        call = other.stub.WatchSession(pb.WatchSessionRequest(name=name))
        await call.read()
        await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
        seen = []
        while True:
            event = (await call.read()).event
            seen.append(event.sequence)
            if event.state_changed.state == session_pb2.Session.STATE_SUCCEEDED:
                break
        assert seen == list(range(1, len(seen) + 1))
        call.cancel()


async def test_progress_comes_after_its_round_though_no_notification_does(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    name, feed = await gateway.create(), gateway.server._feed
    await gateway.server._notifications.close()
    call = gateway.stub.WatchSession(pb.WatchSessionRequest(name=name))
    await call.read()
    await gateway.stub.SubmitFeedback(pb.SubmitFeedbackRequest(name=name, text="hello"))
    feed.wake(name.removeprefix("sessions/"))
    # What it was told last, it has read last: now it sleeps.
    assert (await call.read()).event.HasField("feedback_given")
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    kinds = [(await call.read()).event.WhichOneof("event") for _ in range(4)]
    assert kinds == ["state_changed", "target_understood", "round_started", "candidate_progress"]
    call.cancel()


async def test_progress_of_a_candidate_is_not_told_after_its_end(gateway: Gateway) -> None:
    gateway.parts.generator.hold_after_pictures = 1
    name = await gateway.create()
    call = gateway.stub.WatchSession(pb.WatchSessionRequest(name=name))
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    while not (await call.read()).event.HasField("candidate_generated"):
        pass
    # The last is a mark: what is told of it, the generator's own progress cannot replace.
    for late in ("r1c1", "r9c9"):
        progress = domain.CandidateProgress(late, 1, 9)
        gateway.server._feed.progress(name.removeprefix("sessions/"), progress)
    told = [""]
    while told[-1] != "r9c9":
        told.append((await call.read()).event.candidate_progress.candidate_id)
    assert "r1c1" not in told
    call.cancel()
    gateway.parts.generator.gate.set()


async def test_gateway_that_shuts_down_sends_watchers_away_with_a_reason(database_url: str, parts: Parts) -> None:
    async with running(database_url, parts) as one:
        name = await one.create()
        call = one.stub.WatchSession(pb.WatchSessionRequest(name=name))
        await call.read()
        stopping = asyncio.create_task(one.server.stop())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert reason_of(caught.value) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
        await stopping


@pytest.mark.parametrize("cursor", ["x", "!!!!", "YzE6", "é", "A" * 500])
async def test_cursor_that_is_none(gateway: Gateway, cursor: str) -> None:
    name = await gateway.create()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch(gateway, name, cursor)
    assert reason_of(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "after_cursor")


async def test_cursor_of_another_session_or_beyond_the_end(gateway: Gateway) -> None:
    first, second = await gateway.create(), await gateway.create()
    await gateway.stub.SubmitFeedback(pb.SubmitFeedbackRequest(name=first, text="hello"))
    foreign = (await watch(gateway, first))[1].cursor
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch(gateway, second, foreign)
    assert reason_of(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "after_cursor")
    await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=first))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch(gateway, first, foreign)
    assert reason_of(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")


async def finished_loop(gateway: Gateway) -> str:
    """A session whose loop is done."""
    name = await gateway.create()
    settings = session_pb2.LoopSettings(rounds=2)
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=settings))
    await gateway.events(name)
    return name


async def watch(gateway: Gateway, name: str, cursor: str = "") -> list[session_pb2.SessionEvent]:
    """Snapshot and durable events until the session is idle."""
    request = pb.WatchSessionRequest(name=name, after_cursor=cursor, until_idle=True)
    events = [one.event async for one in gateway.stub.WatchSession(request)]
    return [one for one in events if one.sequence or one.HasField("snapshot")]
