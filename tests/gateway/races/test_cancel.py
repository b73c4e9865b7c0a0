"""Cancelling a race: all its sessions stop wherever they are, and no other does."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from likeness.gateway.v1 import race_pb2, session_pb2
from likeness.gateway.v1 import race_service_pb2 as pb
from likeness.gateway.v1 import session_service_pb2 as sessions
from tests.gateway.conftest import Gateway, Parts, clear, running
from tests.gateway.failures import reason_of
from tests.gateway.races.racing import Entry, create, finished

pytestmark = pytest.mark.integration


async def test_cancel_stops_what_runs_and_what_waits(database_url: str, parts: Parts) -> None:
    parts.generator.gate.clear()
    # Two places for six sessions: four of them wait for a gateway.
    async with running(database_url, parts, max_running_sessions=2) as gateway:
        race = await create(gateway, targets=3)
        beside = await gateway.create()
        while len(parts.generator.calls) < 2:
            await asyncio.sleep(0.01)
        answer = await gateway.races.CancelRace(pb.CancelRaceRequest(name=race.name))
        assert answer.race.state == race_pb2.Race.STATE_CANCELLED and answer.race.HasField("end_time")
        assert [one.cancelled_count for one in answer.race.progress] == [3, 3]
        # What waited was never begun, and the denoisers of what ran were stopped.
        assert len(parts.generator.calls) == parts.generator.cancelled == 2
        full = await gateway.races.GetRace(pb.GetRaceRequest(name=race.name))
        assert {one.state for one in full.entries} == {Entry.STATE_CANCELLED}
        # One that waited may be taken up just before its own cancel, when there is room already.
        assert sum(one.HasField("seconds") and one.seconds > 0 for one in full.entries) in range(2, 6)
        assert not full.table.duels[0].HasField("difference")
        other = await gateway.stub.GetSession(sessions.GetSessionRequest(name=beside))
        assert other.session.state == session_pb2.Session.STATE_WAITING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway.races.CancelRace(pb.CancelRaceRequest(name=race.name))
        assert reason_of(caught.value)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "RACE_NOT_RUNNING")
    await clear(database_url)


async def test_a_race_that_has_ended_cannot_be_cancelled(gateway: Gateway) -> None:
    before = await finished(gateway, (await create(gateway, targets=1)).name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.races.CancelRace(pb.CancelRaceRequest(name=before.race.name))
    assert reason_of(caught.value)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "RACE_NOT_RUNNING")
    assert (await read(gateway, before.race.name)).race == before.race


async def test_a_single_session_can_be_cancelled_and_the_race_goes_on(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    race = await create(gateway, targets=2)
    first = (await read(gateway, race.name)).entries[0]
    await gateway.stub.CancelLoop(sessions.CancelLoopRequest(name=first.session))
    gateway.parts.generator.gate.set()
    answer = await finished(gateway, race.name)
    assert answer.race.state == race_pb2.Race.STATE_FINISHED
    assert answer.entries[0].stop_reason == session_pb2.STOP_REASON_CANCELLED
    assert (answer.race.progress[0].cancelled_count, answer.race.progress[0].succeeded_count) == (1, 1)
    assert answer.table.duels[0].difference.count == 1


async def test_a_paused_session_is_cancelled_too(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    race = await create(gateway, targets=1)
    first = (await read(gateway, race.name)).entries[0]
    await gateway.stub.PauseLoop(sessions.PauseLoopRequest(name=first.session, at_once=True))
    assert (await read(gateway, race.name)).race.progress[0].running_count == 1
    answer = await gateway.races.CancelRace(pb.CancelRaceRequest(name=race.name))
    assert [one.cancelled_count for one in answer.race.progress] == [1, 1]


async def read(gateway: Gateway, name: str) -> pb.GetRaceResponse:
    """The race as it is now."""
    return await gateway.races.GetRace(pb.GetRaceRequest(name=name))
