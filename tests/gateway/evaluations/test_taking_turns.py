"""Jobs of one gateway that cannot go on leave their place to others, and bad rows never end a job."""

from __future__ import annotations

import pytest

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.gateway.evaluations import jobs
from tests.gateway.conftest import Gateway
from tests.gateway.evaluations.manifesting import PROMPTED, State, create, evaluated, jsonl, pair, prompted, watched

pytestmark = pytest.mark.integration


async def test_jobs_that_cannot_go_on_do_not_keep_others_from_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "TICK_SECONDS", 0.05)
    away = UnavailableError(Reason.MODEL_UNAVAILABLE, "the model is gone")
    gateway.parts.generator.failures = [away] * 100_000
    stuck = [await create(gateway, jsonl([prompted(number)]), PROMPTED) for number in range(jobs.MAX_RUNNING)]
    while len(gateway.parts.generator.calls) < 2 * jobs.MAX_RUNNING:
        await gateway.count("SELECT 1")
    evaluation, results = await watched(gateway, await create(gateway, jsonl([pair(0)])))
    assert evaluation.state == State.STATE_SUCCEEDED and len(results) == 1
    assert gateway.parts.generator.failures
    # They are as they were, and go on once they can.
    gateway.parts.generator.failures.clear()
    for name in stuck:
        evaluation, results = await watched(gateway, name)
        assert evaluation.state == State.STATE_SUCCEEDED and len(results) == 1


async def test_an_error_of_what_a_job_needs_is_no_loss_of_the_job(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "TICK_SECONDS", 0.05)
    runner = gateway.server.evaluations.jobs
    process, failures = runner._processor.__class__.process, [InvalidInputError("x", "is no item's fault")] * 3

    async def failing(self: object, *args: object, **kwargs: object) -> object:
        if failures:
            raise failures.pop()
        return await process(self, *args, **kwargs)

    monkeypatch.setattr(runner._processor.__class__, "process", failing)
    evaluation, results = await evaluated(gateway, jsonl([pair(0)]))
    assert evaluation.state == State.STATE_SUCCEEDED and len(results) == 1 and not failures


async def test_rows_that_nothing_could_store_fail_alone(gateway: Gateway) -> None:
    rows = [pair(0), r'{"item_id": "\ud800"}', r'{"item_id": "a", "\u0000x": 1}', r'{"item_id": "\u0000"}', pair(4)]
    evaluation, results = await evaluated(gateway, jsonl(rows))
    assert evaluation.state == State.STATE_SUCCEEDED
    assert [one.HasField("error") for one in results] == [False, True, True, True, False]
