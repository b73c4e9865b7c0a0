"""Loops that change their gateway, lose their database, or wait their turn."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import grpc
import pytest
from sqlalchemy import text

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from services.gateway import server
from services.gateway.store.database import Database
from tests.gateway.conftest import Gateway, Parts, clear, running
from tests.gateway.failures import details_of, reason_of

pytestmark = pytest.mark.integration

SUCCEEDED = session_pb2.Session.STATE_SUCCEEDED


async def test_gateway_that_stops_hands_its_loops_over(database_url: str, parts: Parts) -> None:
    async with running(database_url, parts) as first:
        name = await held(first)
    parts.generator.gate.set()
    # The next gateway has a generator of its own; the pictures are in the store that both share.
    next_parts = Parts(objects=parts.objects)
    async with running(database_url, next_parts) as second:
        assert (await second.finished(name)).session.state == SUCCEEDED
    assert parts.generator.cancelled == 1
    made = parts.generator.made + next_parts.generator.made
    assert made.total() == 6 and set(made.values()) == {1}
    await clear(database_url)


async def test_gateway_that_vanishes_loses_its_loops_to_the_other(gateway: Gateway, database_url: str) -> None:
    name = await held(gateway)
    # As after SIGKILL: no release, no more heartbeats, and the lease runs out.
    await gateway.server.runner._ticker.close()
    await execute(database_url, "UPDATE sessions SET lease_expire_time = now() - interval '1 second'")
    async with running(database_url, Parts(objects=gateway.parts.objects)) as other:
        assert (await other.finished(name)).session.state == SUCCEEDED
    # The old one wakes up, and its write is refused: nothing is there twice.
    gateway.parts.generator.gate.set()
    done = await gateway.finished(name)
    assert done.session.round_count == 3 and [len(one.candidates) for one in done.rounds] == [2, 2, 2]
    kinds = [one.WhichOneof("event") for one in await gateway.events(name)]
    assert kinds.count("candidate_generated") == kinds.count("candidate_scored") == 6


async def test_loop_outlives_the_loss_of_every_database_connection(gateway: Gateway, database_url: str) -> None:
    name = await held(gateway)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = :name"
    await execute(database_url, kill, name=database_url.partition("?")[0].rpartition("/")[2])
    gateway.parts.generator.gate.set()
    assert (await gateway.finished(name)).session.state == SUCCEEDED
    assert set(gateway.parts.generator.made.values()) == {1}


async def test_gateway_that_has_handed_over_begins_nothing(database_url: str, parts: Parts) -> None:
    async with running(database_url, parts) as first, running(database_url, Parts(objects=parts.objects)) as second:
        parts.generator.gate.clear()
        paused, waiting = await first.create(), await first.create()
        await first.stub.StartLoop(pb.StartLoopRequest(name=paused))
        await first.stub.PauseLoop(pb.PauseLoopRequest(name=paused, at_once=True))
        # As a call that was let in just before: only the loops are handed over yet.
        await first.server.runner.close()
        for call in (
            first.stub.StartLoop(pb.StartLoopRequest(name=waiting)),
            first.stub.ResumeLoop(pb.ResumeLoopRequest(name=paused)),
            first.stub.SubmitPrompt(pb.SubmitPromptRequest(name=waiting, prompt="rgb 1 2 3")).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert reason_of(caught.value) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
        # Nothing was stored, so the same calls elsewhere are not refused.
        await second.stub.StartLoop(pb.StartLoopRequest(name=waiting))
        await second.stub.ResumeLoop(pb.ResumeLoopRequest(name=paused))
        for name in (waiting, paused):
            assert (await second.finished(name)).session.state == SUCCEEDED
    await clear(database_url)


async def test_new_calls_of_a_drained_gateway_are_sent_elsewhere(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await gateway.create()
    told = asyncio.Event()
    # The notice lasts until the call is answered, however long that takes.
    monkeypatch.setattr(server, "asyncio", SimpleNamespace(sleep=lambda _: told.wait()))
    draining = asyncio.create_task(gateway.server.drain(notice_seconds=0.5))
    await asyncio.sleep(0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.GetSession(pb.GetSessionRequest(name=name))
    assert reason_of(caught.value) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
    assert details_of(caught.value)["RetryInfo"].retry_delay.seconds == 1
    told.set()
    await draining


async def test_loops_beyond_the_limit_wait_their_turn(database_url: str, parts: Parts) -> None:
    parts.generator.gate.clear()
    async with running(database_url, parts, max_running_sessions=2) as one:
        names = [await one.create() for _ in range(4)]
        for name in names:
            await one.stub.StartLoop(pb.StartLoopRequest(name=name))
        while len(parts.generator.calls) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(parts.generator.calls) == 2
        parts.generator.gate.set()
        done = [await one.finished(name) for name in names]
        assert [each.session.state for each in done] == [SUCCEEDED] * 4
    await clear(database_url)


async def held(gateway: Gateway) -> str:
    """A session whose loop has made one picture and hangs in the next."""
    gateway.parts.generator.hold_after_pictures = 1
    name = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
    async for one in gateway.stub.WatchSession(pb.WatchSessionRequest(name=name)):
        if one.event.HasField("candidate_generated"):
            break
    # A watcher may hear of a picture before the loop knows that it is stored.
    while gateway.parts.generator.gate.is_set():
        await asyncio.sleep(0.005)
    return name


async def execute(database_url: str, statement: str, **values: str) -> None:
    """Runs a statement on a connection of its own."""
    database = Database(database_url)
    async with database.transaction() as connection:
        await connection.execute(text(statement), values)
    await database.close()
