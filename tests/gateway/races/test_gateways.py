"""Several gateways run one race, and one that goes away costs nothing."""

from __future__ import annotations

import asyncio

import pytest

from likeness.gateway.v1 import race_pb2
from likeness.gateway.v1 import race_service_pb2 as pb
from likeness.gateway.v1 import session_service_pb2 as sessions
from tests.gateway.conftest import Parts, clear, running
from tests.gateway.races.racing import Entry, create, finished

pytestmark = pytest.mark.integration


async def test_gateways_share_a_race(database_url: str) -> None:
    first, second = Parts(), Parts()
    second.objects = first.objects
    first.generator.gate.clear()
    second.generator.gate.clear()
    async with (
        running(database_url, first, max_running_sessions=2) as one,
        running(database_url, second, max_running_sessions=2) as other,
    ):
        race = await create(one, targets=3)
        # Neither takes more than it can run, so that both have work.
        while len(first.generator.calls) < 2 or len(second.generator.calls) < 2:
            await asyncio.sleep(0.01)
        assert len(first.generator.calls) == len(second.generator.calls) == 2
        first.generator.gate.set()
        second.generator.gate.set()
        answers = await asyncio.gather(finished(one, race.name), finished(other, race.name))
    assert answers[0] == answers[1]
    assert {entry.state for entry in answers[0].entries} == {Entry.STATE_SUCCEEDED}
    # Every picture was made once.
    assert first.generator.made.total() + second.generator.made.total() == 24
    await clear(database_url)


async def test_a_gateway_that_closes_in_the_middle_costs_nothing(database_url: str) -> None:
    first, second = Parts(), Parts()
    second.objects = first.objects
    first.generator.gate.clear()
    second.generator.gate.clear()
    async with running(database_url, second, max_running_sessions=2) as other:
        async with running(database_url, first, max_running_sessions=2) as one:
            race = await create(one, targets=3)
            watch = asyncio.create_task(finished(other, race.name))
            await first.generator.go_on_until(lambda: first.generator.made.total() >= 2)
        second.generator.gate.set()
        answer = await watch
        assert answer.race.state == race_pb2.Race.STATE_FINISHED
        assert {entry.state for entry in answer.entries} == {Entry.STATE_SUCCEEDED}
        assert [row.curves[0].rounds[-1].count for row in answer.table.rows] == [3, 3]
        assert [one.image_count for one in answer.race.progress] == [12, 12]
        again = await other.races.GetRace(pb.GetRaceRequest(name=race.name))
        assert again == answer
    # The first one made some of it, and nothing that it stored was made again.
    assert first.generator.made.total() >= 2 and second.generator.made.total() >= 2
    assert first.generator.made.total() + second.generator.made.total() <= 24 + 4
    await clear(database_url)


async def test_one_session_of_a_person_is_not_behind_a_race(database_url: str, parts: Parts) -> None:
    parts.generator.gate.clear()
    async with running(database_url, parts, max_running_sessions=2) as gateway:
        race = await create(gateway, targets=6)
        while len(parts.generator.calls) < 2:
            await asyncio.sleep(0.01)
        name = await gateway.create()
        await gateway.stub.StartLoop(sessions.StartLoopRequest(name=name))
        parts.generator.gate.set()
        done = await gateway.finished(name)
        assert done.session.round_count == 3
        answer = await gateway.races.GetRace(pb.GetRaceRequest(name=race.name))
        assert answer.race.state == race_pb2.Race.STATE_RUNNING
        await finished(gateway, race.name)
    await clear(database_url)
