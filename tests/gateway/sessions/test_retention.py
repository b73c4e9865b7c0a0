"""What is kept of finished sessions: events, then one snapshot, then nothing. Off unless settings say so."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import grpc
import pytest
from sqlalchemy import text

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from services.gateway import housekeeping
from tests.gateway.conftest import Gateway, Parts, clear, running
from tests.gateway.failures import reason_of
from tests.gateway.test_cancel import in_generator

pytestmark = pytest.mark.integration

OLD = "UPDATE sessions SET update_time = update_time - interval '2 days', create_time = create_time - interval '2 days'"
EVENTS = "SELECT count(*) FROM events"
SESSIONS = "SELECT count(*) FROM sessions"


@pytest.fixture
async def compacting(database_url: str, parts: Parts) -> AsyncIterator[Gateway]:
    """A gateway that keeps events of finished sessions for a day."""
    async with running(database_url, parts, event_retention_days=1) as one:
        yield one
    await clear(database_url)


async def test_old_session_is_a_snapshot_from_every_cursor(compacting: Gateway) -> None:
    name = await finished(compacting)
    cursors = ["", *[one.cursor for one in await compacting.events(name)]]
    await grown_old(compacting)
    assert await compacting.count(EVENTS) == 0
    stored = await compacting.stub.GetSession(pb.GetSessionRequest(name=name))
    for cursor in cursors:
        (only,) = await watch(compacting, name, cursor)
        assert only.snapshot.session == stored.session and list(only.snapshot.rounds) == list(stored.rounds)
        assert only.sequence == 0 and only.cursor == cursors[-1]


async def test_session_that_goes_on_goes_on_without_a_gap(compacting: Gateway) -> None:
    name = await finished(compacting)
    before = len(await compacting.events(name))
    await grown_old(compacting)
    await compacting.stub.StartLoop(pb.StartLoopRequest(name=name))
    later = await compacting.events(name)
    assert [one.sequence for one in later] == list(range(before + 1, before + len(later) + 1))
    for position, event in enumerate(later, start=before + 1):
        snapshot, *rest = await watch(compacting, name, event.cursor)
        assert snapshot.snapshot.session.last_event_sequence == position
        assert [one.sequence for one in rest] == list(range(position + 1, before + len(later) + 1))
    stored = await compacting.stub.GetSession(pb.GetSessionRequest(name=name))
    assert snapshot.snapshot.session == stored.session
    # And once more: the new snapshot takes the place of the old one.
    await grown_old(compacting)
    assert await compacting.count(EVENTS) == 0
    assert (await watch(compacting, name, later[0].cursor))[0].snapshot.session.round_count == 4


async def test_only_what_is_finished_and_old_is_compacted(compacting: Gateway) -> None:
    # One that waits for a person, one whose loop is paused, one that runs; then one that is finished, but not old.
    waiting = await compacting.create()
    await compacting.stub.SubmitFeedback(pb.SubmitFeedbackRequest(name=waiting, text="greener"))
    compacting.parts.generator.gate.clear()
    paused, running_one = await compacting.create(), await compacting.create()
    for name in (paused, running_one):
        await compacting.stub.StartLoop(pb.StartLoopRequest(name=name))
    await compacting.stub.PauseLoop(pb.PauseLoopRequest(name=paused, at_once=True))
    # It has no more to say before its first picture.
    await in_generator(compacting)
    await compacting.execute(OLD)
    before = await compacting.count(EVENTS)
    await do_chores(compacting)
    assert await compacting.count(EVENTS) == before > 0
    compacting.parts.generator.gate.set()
    await compacting.finished(running_one)
    before = await compacting.count(EVENTS)
    await do_chores(compacting)
    assert await compacting.count(EVENTS) == before


async def test_call_repeated_after_its_events_are_gone_says_so(compacting: Gateway) -> None:
    name = await compacting.create()
    request = pb.SubmitPromptRequest(name=name, prompt="rgb 1 2 3", request_id=str(uuid.uuid4()))
    assert [one async for one in compacting.stub.SubmitPrompt(request)]
    await compacting.stub.StartLoop(pb.StartLoopRequest(name=name))
    await compacting.finished(name)
    await grown_old(compacting)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        assert [one async for one in compacting.stub.SubmitPrompt(request)]
    assert reason_of(caught.value)[:2] == (grpc.StatusCode.OUT_OF_RANGE, "EVENTS_NOT_KEPT")


async def test_old_sessions_are_deleted_with_their_pictures(database_url: str, parts: Parts) -> None:
    async with running(database_url, parts, session_retention_days=1) as one:
        old = await finished(one)
        await one.execute(OLD)
        young, waiting = await finished(one), await one.create()
        await one.execute(f"{OLD} WHERE id = '{waiting.removeprefix('sessions/')}'")
        await do_chores(one)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await one.stub.GetSession(pb.GetSessionRequest(name=old))
        assert reason_of(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
        kept = {session.name for session in (await one.stub.ListSessions(pb.ListSessionsRequest())).sessions}
        assert kept == {young, waiting}
        rounds = (await one.stub.GetSession(pb.GetSessionRequest(name=young))).rounds
        hashes = {each.image.content_hash for item in rounds for each in item.candidates}
        # Both sessions made other pictures of the same target, which the remaining ones need.
        assert len(parts.objects.data) == len(hashes) + 1
    await clear(database_url)


async def test_without_settings_everything_is_kept(gateway: Gateway) -> None:
    await finished(gateway)
    await gateway.execute("UPDATE sessions SET update_time = update_time - interval '10 years'")
    events = await gateway.count(EVENTS)
    await do_chores(gateway)
    assert (await gateway.count(SESSIONS), await gateway.count(EVENTS)) == (1, events)


async def test_one_gateway_at_a_time_does_the_chores(compacting: Gateway) -> None:
    await finished(compacting)
    await compacting.execute(OLD)
    async with compacting.server.database.transaction() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": housekeeping._LOCK_KEY})
        assert not await compacting.server.housekeeping.run()
        assert await compacting.count(EVENTS) > 0
    await do_chores(compacting)
    assert await compacting.count(EVENTS) == 0


async def finished(gateway: Gateway) -> str:
    """A session whose loop of one round is done."""
    # A seed of its own: sessions must not share pictures.
    seed = uuid.uuid4().int % 2**32
    name = await gateway.create(settings=session_pb2.SessionSettings(seed=seed))
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name, settings=session_pb2.LoopSettings(rounds=1)))
    await gateway.finished(name)
    return name


async def grown_old(gateway: Gateway) -> None:
    """Two days later, after the chores."""
    await gateway.execute(OLD)
    await do_chores(gateway)


async def do_chores(gateway: Gateway) -> None:
    """Does every chore; the gateway's own first round of them may still be under way."""
    while not await gateway.server.housekeeping.run():
        await asyncio.sleep(0.01)


async def watch(gateway: Gateway, name: str, cursor: str) -> list[session_pb2.SessionEvent]:
    """Snapshot and durable events until the session is idle."""
    request = pb.WatchSessionRequest(name=name, after_cursor=cursor, until_idle=True)
    return [one.event async for one in gateway.stub.WatchSession(request)]
