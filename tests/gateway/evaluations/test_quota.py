"""Evaluations that meet their tenant's quota of a day: jobs go on the next day, streams are told."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from services.gateway.evaluations import jobs
from tests.gateway.conftest import Gateway
from tests.gateway.evaluations.manifesting import PROMPTED, State, create, jsonl, pair, prompted, watched
from tests.gateway.evaluations.streaming import item, streaming
from tests.gateway.failures import details_of, reason_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_day")]

ITEMS = 10
"""Of two pictures each, of which the quota below leaves four."""
QUOTA = 8


async def test_a_job_waits_for_the_next_day_and_loses_no_picture(gateway: Gateway) -> None:
    await set_quota(gateway, QUOTA)
    name = await create(gateway, jsonl(prompted(number) for number in range(ITEMS)), PROMPTED)
    stopped = await waiting(gateway, name)
    assert (stopped.wait_reason.reason, stopped.done_count, stopped.failed_count) == ("QUOTA_EXCEEDED", 4, 0)
    assert "midnight" in stopped.wait_reason.message and not stopped.HasField("error")
    made = gateway.parts.generator.made
    assert made.total() == QUOTA
    # It has no place of a gateway meanwhile, and is not looked at before its time.
    while gateway.server.evaluations.jobs._tasks:
        await asyncio.sleep(0.01)
    assert await gateway.server.evaluations.jobs._jobs.claim("other", (), 4) == []
    left = "SELECT extract(epoch FROM lease_expire_time - now())::int FROM evaluations"
    assert jobs.WAIT_SECONDS - 300 < await gateway.count(left) <= jobs.WAIT_SECONDS
    # The next day.
    await gateway.execute("UPDATE tenant_usage SET day = day - 1")
    await set_quota(gateway, 2 * ITEMS)
    await gateway.execute("UPDATE evaluations SET lease_expire_time = now()")
    evaluation, results = await watched(gateway, name)
    assert evaluation.state == State.STATE_SUCCEEDED and not evaluation.HasField("wait_reason")
    assert [one.offset for one in results] == list(range(ITEMS)) and not evaluation.failed_count
    assert made.total() == 2 * ITEMS and set(made.values()) == {1}


async def test_other_jobs_go_on_while_one_waits(gateway: Gateway) -> None:
    await set_quota(gateway, 1)
    held = [await create(gateway, jsonl([prompted(number)]), PROMPTED) for number in range(jobs.MAX_RUNNING)]
    for name in held:
        await waiting(gateway, name)
    evaluation, results = await watched(gateway, await create(gateway, jsonl([pair(0)])))
    assert evaluation.state == State.STATE_SUCCEEDED and len(results) == 1


async def test_a_job_that_waits_can_be_cancelled(gateway: Gateway) -> None:
    await set_quota(gateway, 1)
    name = await create(gateway, jsonl([prompted(0)]), PROMPTED)
    await waiting(gateway, name)
    answer = await gateway.evaluations.CancelEvaluation(service_pb.CancelEvaluationRequest(name=name))
    assert answer.evaluation.state == State.STATE_CANCELLED
    assert not answer.evaluation.HasField("wait_reason") and not answer.evaluation.HasField("error")


async def test_a_stream_answers_what_was_under_way_and_says_when_to_go_on(gateway: Gateway) -> None:
    await set_quota(gateway, QUOTA)
    items = [item(number, prompts=[f"rgb {number} 20 30"]) for number in range(ITEMS)]
    async with streaming(gateway, settings=PROMPTED) as stream:
        await stream.send(*items)
        error = await stream.failure()
    assert reason_of(error)[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert details_of(error)["RetryInfo"].retry_delay.seconds > 0
    assert len(stream.results) == 4 and gateway.parts.generator.made.total() == QUOTA
    await set_quota(gateway, 2 * ITEMS)
    async with streaming(gateway, stream.name) as again:
        assert again.opened is not None
        await again.send(*items[again.opened.evaluation.committed_offset :])
        results = await again.finished()
    assert {one.offset for one in (*stream.results, *results)} == set(range(ITEMS))
    assert gateway.parts.generator.made.total() == 2 * ITEMS


async def set_quota(gateway: Gateway, images_per_day: int) -> None:
    """Pictures that the tenant of these calls may make in a day."""
    await gateway.execute(
        "INSERT INTO tenant_limits (tenant_id, images_per_day, update_time) "
        f"VALUES ('default', {images_per_day}, now()) "
        f"ON CONFLICT (tenant_id) DO UPDATE SET images_per_day = {images_per_day}"
    )


async def waiting(gateway: Gateway, name: str) -> pb.Evaluation:
    """The evaluation once it waits for something."""
    async for event in gateway.evaluations.WatchEvaluation(
        service_pb.WatchEvaluationRequest(name=name, progress_only=True)
    ):
        if event.evaluation.HasField("wait_reason"):
            return event.evaluation
    raise AssertionError("it ended without a wait")
