"""Jobs of several tenants: whose comes first, and that none keeps another waiting while it has two places more."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from services.common.errors import Reason
from services.gateway.domain import ItemError
from services.gateway.evaluations import jobs
from services.gateway.evaluations.model import EvaluationSettings, EvaluationState
from services.gateway.evaluations.service import ManifestInput
from services.gateway.evaluations.stream import MAX_PROMPT_ITEMS
from services.gateway.evaluations.validation import SettingsInput
from services.gateway.store import evaluation_jobs
from services.gateway.store.database import Database
from services.gateway.store.evaluation_jobs import EvaluationJobRepository, Job, Manifest
from services.gateway.store.evaluations import Hold
from services.gateway.store.manifests import ManifestRepository
from services.gateway.store.requests import RequestRepository
from services.gateway.store.tables import evaluations
from tests.gateway.conftest import Gateway, Parts, clear
from tests.gateway.evaluations.manifesting import PROMPTED, State, create, jsonl, pair, prompted, watched

pytestmark = pytest.mark.integration

ITEMS = 24
SETTINGS = EvaluationSettings(("pixels",))


@dataclass(frozen=True)
class Queue:
    """Jobs of a database that no gateway works on, named by a tenant and a number, such as "a1"."""

    jobs: EvaluationJobRepository
    manifests: ManifestRepository
    database: Database

    async def add(self, *names: str) -> None:
        """Creates jobs, one after the other."""
        for name in names:
            part = await self.manifests.add_part(name[0], jsonl([pair(0)]))
            await self.jobs.create(name[0], uuid.uuid4().hex, SETTINGS, name, Manifest((part,)), None)

    async def take(self, count: int = 1, owner: str = "one") -> list[str]:
        """Names of the jobs that a gateway takes, which works on all that it has taken."""
        async with self.database.query() as connection:
            mine = select(evaluations.c.id).where(evaluations.c.lease_owner == owner)
            running = (await connection.execute(mine)).scalars().all()
        return sorted(_name(job) for job in await self.jobs.claim(owner, running, count))

    async def hold(self, name: str) -> Hold:
        """The newest right to work on a job."""
        async with self.database.query() as connection:
            query = select(evaluations).where(evaluations.c.display_name == name)
            row = (await connection.execute(query)).mappings().one()
        return Hold(row["tenant_id"], row["id"], row["lease_token"])

    async def crowding(self, waiting_seconds: float = 0.0) -> str | None:
        """Name of the job that is to make room."""
        found = await self.jobs.crowding(waiting_seconds=waiting_seconds)
        async with self.database.query() as connection:
            query = select(evaluations.c.display_name).where(evaluations.c.id == found)
            return (await connection.execute(query)).scalar_one_or_none()

    async def execute(self, statement: str) -> None:
        """Runs a statement."""
        async with self.database.transaction() as connection:
            await connection.exec_driver_sql(statement)


@pytest.fixture
async def queue(database_url: str, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Queue]:
    """An empty one, whose leases end in no test by themselves."""
    monkeypatch.setattr(evaluation_jobs, "LEASE_SECONDS", 3600)
    database = Database(database_url)
    manifests = ManifestRepository(database, parts.objects)
    requests = RequestRepository(database, ttl_seconds=60)
    yield Queue(EvaluationJobRepository(database, manifests, requests), manifests, database)
    await database.close()
    await clear(database_url)


async def test_the_tenant_with_the_fewest_jobs_comes_first_then_the_oldest(queue: Queue) -> None:
    await queue.add("a1", "a2", "a3", "b1", "b2", "c1")
    assert [await queue.take() for _ in range(7)] == [["a1"], ["b1"], ["c1"], ["a2"], ["b2"], ["a3"], []]


async def test_several_at_once_are_those_that_come_one_by_one(queue: Queue) -> None:
    await queue.add("a1", "a2", "a3", "b1", "b2", "c1")
    assert await queue.take(2) == ["a1", "b1"]
    assert await queue.take(3) == ["a2", "b2", "c1"]


async def test_gateways_at_the_same_time_take_jobs_of_different_tenants(queue: Queue) -> None:
    await queue.add(*(f"a{number}" for number in range(8)), "b1", "c1", "d1")
    taken = await asyncio.gather(*(queue.take(1, owner=str(number)) for number in range(4)))
    assert sorted(taken) == [["a0"], ["b1"], ["c1"], ["d1"]]


async def test_what_nobody_works_on_any_more_is_no_running_job(queue: Queue) -> None:
    await queue.add("a1", "a2", "a3", "b1", "b2")
    assert await queue.take(4) == ["a1", "a2", "b1", "b2"]
    await queue.execute("UPDATE evaluations SET lease_expire_time = now() WHERE display_name IN ('a1', 'a2')")
    waits = ItemError(Reason.QUOTA_EXCEEDED.value, "the day is used up")
    await queue.jobs.wait(await queue.hold("b2"), waits, seconds=600)
    await queue.add("b3")
    # Of a none runs, of b one; b2 waits for another day.
    assert [await queue.take() for _ in range(5)] == [["a1"], ["a2"], ["b3"], ["a3"], []]


async def test_the_newest_job_of_the_tenant_with_the_most_makes_room(queue: Queue) -> None:
    await queue.add("a1", "a2", "a3", "b1", "b2")
    assert await queue.take(3, "one") + await queue.take(2, "two") == ["a1", "a2", "b1", "a3", "b2"]
    assert await queue.crowding() is None
    await queue.add("c1")
    assert await queue.crowding(waiting_seconds=3600) is None
    assert await queue.crowding() == "a3"
    hold = await queue.hold("a3")
    await queue.jobs.wait(hold, None, seconds=3600)
    assert await queue.take() == ["c1"]
    assert await queue.crowding() is None


async def test_nobody_makes_room_for_a_tenant_that_has_its_share(queue: Queue) -> None:
    await queue.add("a1", "a2", "b1")
    assert await queue.take(3) == ["a1", "a2", "b1"]
    # One more than b has, and as many as it would have.
    await queue.add("b2", "a3")
    assert await queue.crowding() is None
    await queue.add("c1")
    assert await queue.crowding() == "a2"
    # With one place each, the fourth waits for one of them.
    await queue.jobs.wait(await queue.hold("a2"), None, seconds=3600)
    assert await queue.take() == ["c1"]
    await queue.add("d1")
    assert await queue.crowding() is None


async def test_no_room_is_made_for_what_waits_for_a_time(queue: Queue) -> None:
    await queue.add("a1", "a2", "b1")
    assert await queue.take(3) == ["a1", "a2", "b1"]
    hold = await queue.hold("b1")
    await queue.jobs.wait(hold, ItemError(Reason.QUOTA_EXCEEDED.value, "the day is used up"), seconds=600)
    assert await queue.crowding() is None
    await queue.execute("UPDATE evaluations SET lease_expire_time = now() WHERE display_name = 'b1'")
    assert await queue.crowding() == "a2"


async def test_a_tenant_that_has_every_place_makes_room_and_loses_no_picture(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_RUNNING", 2)
    monkeypatch.setattr(jobs, "TICK_SECONDS", 0.05)
    generator, evaluation_service = gateway.parts.generator, gateway.server.evaluations.service
    runner = gateway.server.evaluations.jobs
    generator.gate.clear()
    rows = [[prompted(n, item_id=f"{job} {n}", prompt=f"rgb {n} {job} 30") for n in range(ITEMS)] for job in range(3)]
    names = [await create(gateway, jsonl(one), PROMPTED) for one in rows]
    while [one._running["prompts"] for one in runner._streams.values()] != [MAX_PROMPT_ITEMS] * 2:
        await asyncio.sleep(0.01)
    manifest = ManifestInput(jsonl([pair(0)]))
    other = await evaluation_service.create("other", SettingsInput(("pixels",)), manifest, "", None)
    while not any(stream.is_left for stream in runner._streams.values()):
        runner.told("")
        await asyncio.sleep(0.01)
    (left,) = (name for name, stream in runner._streams.items() if stream.is_left)
    assert left == names[1].removeprefix("evaluations/")
    await generator.go_on_until(lambda: sum(" 1 30 " in name for name in generator.made) == 2 * MAX_PROMPT_ITEMS)
    # Its place is not that of its tenant's third job.
    async for _ in evaluation_service.watch("other", other.id, 0, progress_only=True):
        pass
    assert (await evaluation_service.get("other", other.id)).state is EvaluationState.SUCCEEDED
    done = [await gateway.evaluations.GetEvaluation(service_pb.GetEvaluationRequest(name=name)) for name in names]
    assert [one.evaluation.done_count for one in done[1:]] == [MAX_PROMPT_ITEMS, 0]
    generator.gate.set()
    for name in names:
        evaluation, results = await watched(gateway, name)
        assert evaluation.state == State.STATE_SUCCEEDED and [one.offset for one in results] == list(range(ITEMS))
        assert not evaluation.HasField("wait_reason")
    # What was under way was finished, and nothing was made again.
    assert set(generator.made.values()) == {1} and generator.made.total() == 2 * 3 * ITEMS
    assert not generator.cancelled


def _name(job: Job) -> str:
    return job.opened.evaluation.display_name
