"""Evaluations with a manifest: from their creation to their end, watched, listed, cancelled, deleted, each once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import grpc
import pytest

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from services.common.errors import Reason, UnavailableError
from services.gateway.evaluations import jobs
from tests.gateway.conftest import Gateway
from tests.gateway.evaluations.manifesting import (
    PAIRS,
    PROMPTED,
    State,
    create,
    evaluated,
    jsonl,
    pair,
    prompted,
    watched,
)
from tests.gateway.evaluations.streaming import evaluate, item
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration

COUNT = 40


async def test_a_job_scores_what_a_stream_scores(gateway: Gateway) -> None:
    evaluation, results = await evaluated(gateway, jsonl(pair(n, group=f"g{n % 2}", system="a") for n in range(COUNT)))
    assert evaluation.state == State.STATE_SUCCEEDED
    assert (evaluation.total_count, evaluation.done_count, evaluation.failed_count) == (COUNT, COUNT, 0)
    assert evaluation.committed_offset == COUNT and evaluation.source == State.SOURCE_MANIFEST
    streamed = await evaluate(gateway, [item(n) for n in range(COUNT)])
    by_offset = sorted(streamed.results, key=lambda one: one.offset)
    assert [one.images for one in results] == [one.images for one in by_offset]
    assert [(one.item_id, one.group, one.system) for one in results[:2]] == [
        ("item 0", "g0", "a"),
        ("item 1", "g1", "a"),
    ]


async def test_bad_rows_fail_alone_and_say_where(gateway: Gateway) -> None:
    rows = [pair(0), "{", pair(2, target="http://example.com/a.png"), pair(3), "", pair(4, colour=1)]
    evaluation, results = await evaluated(gateway, jsonl(rows))
    assert evaluation.state == State.STATE_SUCCEEDED and evaluation.failed_count == 3
    errors = {
        one.offset: (one.error.code, one.error.error.field, one.error.error.message)
        for one in results
        if one.HasField("error")
    }
    assert {offset: (code, field) for offset, (code, field, _) in errors.items()} == {
        1: ("INVALID_ARGUMENT", "line"),
        2: ("INVALID_ARGUMENT", "target"),
        4: ("INVALID_ARGUMENT", "colour"),
    }
    assert errors[1][2].startswith("line 2: ") and errors[2][2].startswith("line 3: ")
    # The blank line is no item, but it is a line.
    assert errors[4][2].startswith("line 6: ")


async def test_prompts_make_pictures_at_batch_priority(gateway: Gateway) -> None:
    rows = [prompted(n) for n in range(5)]
    evaluation, results = await evaluated(gateway, jsonl(rows), PROMPTED)
    assert evaluation.state == State.STATE_SUCCEEDED
    assert [len(one.images) for one in results] == [2] * 5
    assert {str(one) for one in gateway.parts.generator.priorities} == {"batch"}


async def test_the_same_request_creates_one_job(gateway: Gateway) -> None:
    data, key = jsonl([pair(0)]), str(uuid4())
    names = [await create(gateway, data, request_id=key) for _ in range(2)]
    assert names[0] == names[1]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(gateway, jsonl([pair(1)]), request_id=key)
    assert reason_of(caught.value)[1] == Reason.REQUEST_ID_REUSED.value


async def test_create_again_is_answered_as_it_was_then(gateway: Gateway) -> None:
    request = service_pb.CreateEvaluationRequest(
        settings=PAIRS, manifest=pb.EvaluationManifest(data=jsonl([pair(0)])), request_id=str(uuid4())
    )
    first = await gateway.evaluations.CreateEvaluation(request)
    await watched(gateway, first.evaluation.name)
    await gateway.evaluations.DeleteEvaluation(service_pb.DeleteEvaluationRequest(name=first.evaluation.name))
    # Nothing is looked at again: neither the metrics nor the manifest.
    gateway.parts.scorer.failures += [UnavailableError(Reason.BACKEND_UNAVAILABLE, "away")] * 3
    assert await gateway.evaluations.CreateEvaluation(request) == first
    assert first.evaluation.state == State.STATE_PENDING


async def test_cancel_and_delete_again_have_one_effect_and_one_answer(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    name = await create(gateway, jsonl([prompted(0)]), PROMPTED)
    cancel = service_pb.CancelEvaluationRequest(name=name, request_id=str(uuid4()))
    together = await asyncio.gather(*(gateway.evaluations.CancelEvaluation(cancel) for _ in range(3)))
    delete = service_pb.DeleteEvaluationRequest(name=name, request_id=str(uuid4()))
    await asyncio.gather(*(gateway.evaluations.DeleteEvaluation(delete) for _ in range(3)))
    assert all(one == together[0] for one in (*together, await gateway.evaluations.CancelEvaluation(cancel)))
    assert together[0].evaluation.state == State.STATE_CANCELLED
    for other in (
        gateway.evaluations.CancelEvaluation(
            service_pb.CancelEvaluationRequest(name=name, request_id=delete.request_id)
        ),
        gateway.evaluations.DeleteEvaluation(
            service_pb.DeleteEvaluationRequest(name=name, request_id=cancel.request_id)
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await other
        assert reason_of(caught.value) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_a_personal_metric_that_nobody_has_is_refused(gateway: Gateway) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(gateway, jsonl([pair(0)]), pb.EvaluationSettings(metrics=["clpips:nobody"]))
    assert reason_of(caught.value) == (grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND")


async def test_watching_goes_on_from_any_offset(gateway: Gateway) -> None:
    name = await create(gateway, jsonl(pair(n) for n in range(250)))
    _, all_results = await watched(gateway, name)
    assert [one.offset for one in all_results] == list(range(250))
    evaluation, rest = await watched(gateway, name, 240)
    assert [one.offset for one in rest] == list(range(240, 250)) and evaluation.done_count == 250
    again, none = await watched(gateway, name, 250)
    assert not none and again == evaluation


async def test_jobs_are_listed_newest_first(gateway: Gateway) -> None:
    names = [await create(gateway, jsonl([pair(n)]), display_name=str(n)) for n in range(3)]
    first = await gateway.evaluations.ListEvaluations(service_pb.ListEvaluationsRequest(page_size=2))
    second = await gateway.evaluations.ListEvaluations(
        service_pb.ListEvaluationsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [one.name for one in (*first.evaluations, *second.evaluations)] == names[::-1]
    assert not second.next_page_token


async def test_a_cancelled_job_keeps_what_it_has_and_stops_its_pictures(gateway: Gateway) -> None:
    gateway.parts.generator.hold_after_pictures = 1
    name = await create(gateway, jsonl(prompted(n) for n in range(30)), PROMPTED)
    while not gateway.parts.generator.calls:
        await asyncio.sleep(0.01)
    answer = await gateway.evaluations.CancelEvaluation(service_pb.CancelEvaluationRequest(name=name))
    assert answer.evaluation.state == State.STATE_CANCELLED
    evaluation, results = await watched(gateway, name)
    assert evaluation.state == State.STATE_CANCELLED and evaluation.done_count == len(results) < 30
    while gateway.server.evaluations.jobs._tasks:
        await asyncio.sleep(0.01)
    assert gateway.parts.generator.cancelled
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.evaluations.CancelEvaluation(service_pb.CancelEvaluationRequest(name=name))
    assert reason_of(caught.value)[1] == Reason.EVALUATION_NOT_OPEN.value


async def test_a_deleted_job_is_gone(gateway: Gateway) -> None:
    name = await create(gateway, jsonl([pair(0)]))
    await watched(gateway, name)
    await gateway.evaluations.DeleteEvaluation(service_pb.DeleteEvaluationRequest(name=name))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.evaluations.GetEvaluation(service_pb.GetEvaluationRequest(name=name))
    assert reason_of(caught.value)[1] == Reason.EVALUATION_NOT_FOUND.value
    assert not await gateway.count("SELECT count(*) FROM evaluation_items")


async def test_a_job_waits_out_a_scorer_that_is_away(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "TICK_SECONDS", 0.05)
    away = UnavailableError(Reason.BACKEND_UNAVAILABLE, "the scorer is away")
    gateway.parts.scorer.failures += [away] * 12
    evaluation, results = await evaluated(gateway, jsonl(pair(n) for n in range(COUNT)))
    assert evaluation.state == State.STATE_SUCCEEDED and len(results) == COUNT and not evaluation.failed_count
