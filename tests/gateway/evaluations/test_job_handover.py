"""Jobs whose gateway closes, dies or loses its lease: another goes on, and each item is done once."""

from __future__ import annotations

import asyncio

import pytest

from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from tests.gateway.conftest import Gateway, Parts, clear, running
from tests.gateway.evaluations.manifesting import PROMPTED, State, create, jsonl, prompted, watched

pytestmark = pytest.mark.integration


async def test_another_gateway_goes_on_with_the_job_of_one_that_closed(database_url: str, parts: Parts) -> None:
    rows = jsonl(prompted(n) for n in range(30))
    parts.generator.gate.clear()
    async with running(database_url, parts) as second:
        async with running(database_url, parts) as first:
            name = await create(first, rows, PROMPTED)
            await parts.generator.go_on_until(lambda: len(parts.generator.made) >= 20)
        parts.generator.gate.set()
        evaluation, results = await watched(second, name)
    assert evaluation.state == State.STATE_SUCCEEDED and [one.offset for one in results] == list(range(30))
    # What was stored is not made again: at most the items that were under way are.
    assert sum(parts.generator.made.values()) <= 60 + 2 * 8
    await clear(database_url)


async def test_another_gateway_goes_on_with_the_job_of_one_that_died(database_url: str, parts: Parts) -> None:
    rows = jsonl(prompted(n) for n in range(20))
    parts.generator.gate.clear()
    async with running(database_url, parts) as second, running(database_url, parts) as first:
        name = await create(first, rows, PROMPTED)
        await parts.generator.go_on_until(lambda: len(parts.generator.made) >= 10)
        # It dies with its leases: nothing is given back.
        runners = [one.server.evaluations.jobs for one in (first, second)]
        (dead,) = (one for one in runners if one._tasks)
        await dead._ticker.close()
        for _, task in dead._tasks.values():
            task.cancel()
        parts.generator.gate.set()
        survivor = second if dead is first.server.evaluations.jobs else first
        evaluation, results = await watched(survivor, name)
    assert evaluation.state == State.STATE_SUCCEEDED and [one.offset for one in results] == list(range(20))
    assert sum(parts.generator.made.values()) <= 40 + 2 * 8
    await clear(database_url)


async def test_a_gateway_that_lost_its_lease_stores_nothing_more(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    name = await create(gateway, jsonl([prompted(0)]), PROMPTED)
    while not gateway.parts.generator.calls:
        await asyncio.sleep(0.01)
    # Another gateway claims it.
    evaluation_id = name.removeprefix("evaluations/")
    _, task = gateway.server.evaluations.jobs._tasks[evaluation_id]
    await gateway.execute(
        f"UPDATE evaluations SET lease_token = lease_token + 1, lease_owner = 'other', "
        f"lease_expire_time = now() + interval '1 hour' WHERE id = '{evaluation_id}'"
    )
    gateway.parts.generator.gate.set()
    while not task.done():
        await asyncio.sleep(0.01)
    assert await gateway.count("SELECT count(*) FROM evaluation_items") == 0
    running_still = await gateway.evaluations.GetEvaluation(service_pb.GetEvaluationRequest(name=name))
    assert running_still.evaluation.state == State.STATE_RUNNING
