"""Evaluations with a manifest: through any gateway, to the end, whoever dies, each item once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import grpc
import pytest
from sqlalchemy import select

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from likeness.gateway.v1 import image_service_pb2
from services.common.errors import NotFoundError, Reason, UnavailableError
from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.evaluations import jobs
from services.gateway.evaluations.service import ManifestInput
from services.gateway.evaluations.validation import SettingsInput
from services.gateway.store.tables import manifest_parts
from tests.gateway.conftest import Gateway, Parts, clear, running
from tests.gateway.evaluations.manifesting import (
    PAIRS,
    PROMPTED,
    State,
    create,
    evaluated,
    inline,
    jsonl,
    pair,
    prompted,
    tar,
    watched,
)
from tests.gateway.evaluations.streaming import COLORS, evaluate, item
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


async def test_a_manifest_in_parts_is_one_file(gateway: Gateway) -> None:
    data = jsonl(pair(n) for n in range(COUNT))
    parts = [data[start : start + 5000] for start in range(0, len(data), 5000)]
    hashes = [
        (await gateway.evaluations.UploadManifestPart(service_pb.UploadManifestPartRequest(data=part))).content_hash
        for part in parts
    ]
    assert len(hashes) > 2
    manifest = pb.EvaluationManifest(parts=pb.EvaluationManifestParts(content_hashes=hashes))
    name = await create(gateway, b"", manifest=manifest)
    evaluation, results = await watched(gateway, name)
    assert evaluation.done_count == COUNT and not evaluation.failed_count and len(results) == COUNT


async def test_a_part_that_nobody_uploaded_is_refused(gateway: Gateway) -> None:
    manifest = pb.EvaluationManifest(parts=pb.EvaluationManifestParts(content_hashes=["0" * 64]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(gateway, b"", manifest=manifest)
    assert reason_of(caught.value)[1] == Reason.MANIFEST_PART_NOT_FOUND.value


@pytest.mark.parametrize("data", [tar({"a.png": COLORS[0]})[:700], b"\x00" * 600, tar({"a.txt": b"x"}, kind="w:gz")])
async def test_an_unreadable_manifest_fails_before_any_item(gateway: Gateway, data: bytes) -> None:
    evaluation, results = await evaluated(gateway, data)
    assert evaluation.state == State.STATE_FAILED and evaluation.error.reason == Reason.MANIFEST_UNREADABLE.value
    assert not results and not gateway.parts.scorer.calls


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


async def test_a_job_waits_out_a_scorer_that_is_away(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "TICK_SECONDS", 0.05)
    away = UnavailableError(Reason.BACKEND_UNAVAILABLE, "the scorer is away")
    gateway.parts.scorer.failures += [away] * 12
    evaluation, results = await evaluated(gateway, jsonl(pair(n) for n in range(COUNT)))
    assert evaluation.state == State.STATE_SUCCEEDED and len(results) == COUNT and not evaluation.failed_count


async def test_parts_that_nothing_needs_are_collected(gateway: Gateway) -> None:
    await gateway.leave_chores()
    manifests = gateway.server.evaluations.manifests
    gateway.parts.generator.gate.clear()
    name = await create(gateway, jsonl([prompted(0)]), PROMPTED)
    await gateway.execute("UPDATE manifest_parts SET use_time = now() - interval '8 days'")
    assert await manifests.sweep() == 0
    gateway.parts.generator.gate.set()
    await watched(gateway, name)
    stored = set(gateway.parts.objects.data)
    assert await manifests.sweep() == 1
    assert len(stored - set(gateway.parts.objects.data)) == 1


async def test_a_part_that_is_also_a_picture_stays_one(gateway: Gateway) -> None:
    await gateway.leave_chores()
    picture = COLORS[5]
    info = (await gateway.images.UploadImage(_upload(picture))).info
    part = await gateway.evaluations.UploadManifestPart(service_pb.UploadManifestPartRequest(data=picture))
    assert part.content_hash == info.content_hash
    await gateway.execute("UPDATE manifest_parts SET use_time = now() - interval '8 days'")
    assert await gateway.server.evaluations.manifests.sweep() == 1
    assert gateway.parts.objects.data[info.content_hash] == picture


async def test_parts_and_evaluations_of_another_tenant_are_absent(gateway: Gateway) -> None:
    name = await create(gateway, jsonl([pair(0)]))
    await watched(gateway, name)
    service, (part,) = gateway.server.evaluations.service, await _parts(gateway)
    manifest = ManifestInput(None, (part,))
    with pytest.raises(NotFoundError) as caught:
        await service.create("other", SettingsInput(("pixels",)), manifest, "", None)
    assert caught.value.reason is Reason.MANIFEST_PART_NOT_FOUND
    evaluation_id = name.removeprefix("evaluations/")
    assert await service.list_page("other", 0, "") == ([], "")
    for call in (
        service.get("other", evaluation_id),
        service.cancel("other", evaluation_id),
        service.delete("other", evaluation_id),
        service.report("other", evaluation_id, ""),
        anext(aiter(service.watch("other", evaluation_id, 0, progress_only=False))),
    ):
        with pytest.raises(NotFoundError):
            await call
    assert (await service.get(DEFAULT_TENANT, evaluation_id)).done_count == 1


async def test_a_webdataset_and_a_stored_picture(gateway: Gateway) -> None:
    hashes = await gateway.images.UploadImage(_upload(COLORS[3]))
    files = {
        "b/001.png": COLORS[0],
        "b/001.target.png": COLORS[1],
        "b/001.json": b'{"group": "g", "system": "s"}',
        "002.json": jsonl([{"item_id": "two", "image": hashes.info.content_hash, "target": inline(COLORS[3])}]),
    }
    evaluation, results = await evaluated(gateway, tar(files))
    assert evaluation.failed_count == 0, results
    assert [(one.item_id, one.group, one.system) for one in results] == [("b/001", "g", "s"), ("two", "", "")]
    assert results[1].images[0].scores[0].raw == 1.0


def _upload(data: bytes) -> image_service_pb2.UploadImageRequest:
    return image_service_pb2.UploadImageRequest(data=data)


async def _parts(gateway: Gateway) -> list[str]:
    async with gateway.server.database.query() as connection:
        return list((await connection.execute(select(manifest_parts.c.content_hash))).scalars())
