"""Parts of manifests: uploaded, named by jobs, kept as long as they are needed, and their tenant's alone."""

from __future__ import annotations

import grpc
import pytest
from sqlalchemy import select

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from likeness.gateway.v1 import image_service_pb2
from services.common.errors import NotFoundError, Reason
from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.evaluations.service import ManifestInput
from services.gateway.evaluations.validation import SettingsInput
from services.gateway.store.tables import manifest_parts
from tests.gateway.conftest import Gateway
from tests.gateway.evaluations.manifesting import (
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
from tests.gateway.evaluations.streaming import COLORS
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration

COUNT = 40


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
