"""Cancelling a race: all its sessions stop wherever they are, and no other does."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest

from likeness.gateway.v1 import race_pb2, session_pb2
from likeness.gateway.v1 import race_service_pb2 as pb
from likeness.gateway.v1 import session_service_pb2 as sessions
from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.races.model import RaceState
from services.gateway.rpc.request_keys import _digest
from services.gateway.store.requests import RequestKey
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
        assert sum(one.HasField("seconds") and one.seconds > 0 for one in full.entries) == 2
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


async def test_what_waits_is_ended_unbegun_where_the_cancelling_gateway_dies(database_url: str, parts: Parts) -> None:
    parts.generator.gate.clear()
    async with running(database_url, parts, max_running_sessions=1) as gateway:
        race = await create(gateway, targets=2)
        while not parts.generator.calls:
            await asyncio.sleep(0.01)
        # It stored that all are to stop, and could tell nobody: each is ended by whoever takes it up.
        races = gateway.server.races._races
        await races.request_cancel(DEFAULT_TENANT, race.name.removeprefix("races/"))
        answer = await finished(gateway, race.name)
        assert answer.race.state == race_pb2.Race.STATE_CANCELLED
        assert [one.seconds > 0 for one in answer.entries].count(True) == 1
        assert len(parts.generator.calls) == parts.generator.cancelled == 1
        assert parts.refiner.calls == ["understand", "propose"]
    await clear(database_url)


async def test_cancel_again_has_one_effect_and_one_answer(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    race = await create(gateway, targets=2)
    request = pb.CancelRaceRequest(name=race.name, request_id=str(uuid.uuid4()))
    together = await asyncio.gather(*(gateway.races.CancelRace(request) for _ in range(3)))
    assert together[0].race.state == race_pb2.Race.STATE_CANCELLED
    entries = (await read(gateway, race.name)).entries
    await gateway.stub.DeleteSession(sessions.DeleteSessionRequest(name=entries[0].session))
    # What came later does not change what was answered.
    assert all(one == together[0] for one in (*together, await gateway.races.CancelRace(request)))
    assert (await read(gateway, race.name)).race != together[0].race


async def test_cancel_again_after_its_gateway_died_in_mid_call(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    race = await create(gateway, targets=1)
    request = pb.CancelRaceRequest(name=race.name, request_id=str(uuid.uuid4()))
    key = RequestKey(request.request_id, _digest(request), DEFAULT_TENANT)
    asked = await gateway.server.races._races.request_cancel(DEFAULT_TENANT, race.name.removeprefix("races/"), key)
    assert asked.state is RaceState.RUNNING
    assert (await gateway.races.CancelRace(request)).race.state == race_pb2.Race.STATE_CANCELLED


async def test_delete_again_is_no_error(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    race = await create(gateway, targets=1)
    request = pb.DeleteRaceRequest(name=race.name, request_id=str(uuid.uuid4()))
    await asyncio.gather(*(gateway.races.DeleteRace(request) for _ in range(3)))
    await gateway.races.DeleteRace(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.races.DeleteRace(pb.DeleteRaceRequest(name=race.name))
    assert reason_of(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "RACE_NOT_FOUND")


async def test_another_body_or_method_under_the_id_is_refused(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    first, second = [await create(gateway, targets=1) for _ in range(2)]
    request_id = str(uuid.uuid4())
    await gateway.races.CancelRace(pb.CancelRaceRequest(name=first.name, request_id=request_id))
    for call in (
        gateway.races.CancelRace(pb.CancelRaceRequest(name=second.name, request_id=request_id)),
        gateway.races.DeleteRace(pb.DeleteRaceRequest(name=first.name, request_id=request_id)),
        gateway.stub.CancelLoop(sessions.CancelLoopRequest(name="sessions/a", request_id=request_id)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason_of(caught.value) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_delete_cancels_what_people_began_after_the_race(gateway: Gateway) -> None:
    race = await create(gateway, targets=1)
    session = (await finished(gateway, race.name)).entries[0].session
    gateway.parts.generator.gate.clear()
    await gateway.stub.StartLoop(sessions.StartLoopRequest(name=session))
    before = gateway.parts.generator.cancelled
    while len(gateway.parts.generator.calls) == gateway.parts.generator.finished + before:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(30):
        await gateway.races.DeleteRace(pb.DeleteRaceRequest(name=race.name))
    assert gateway.parts.generator.cancelled == before + 1
    assert not (await gateway.stub.ListSessions(sessions.ListSessionsRequest())).sessions


async def read(gateway: Gateway, name: str) -> pb.GetRaceResponse:
    """The race as it is now."""
    return await gateway.races.GetRace(pb.GetRaceRequest(name=name))
