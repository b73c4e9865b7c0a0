"""Stored bytes that are damaged, or away for a while: what is damaged fails and says so, what is away is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from likeness._evaluation_convert import report as report_from
from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from likeness.gateway.v1 import image_service_pb2
from likeness.report.evaluations import write_evaluation_report
from services.common.errors import DamagedObjectError, Reason, UnavailableError
from services.gateway import stored
from services.gateway.evaluations import jobs
from services.gateway.objects import LocalObjectStore
from tests.gateway.conftest import Gateway, Parts, clear, running
from tests.gateway.evaluations.manifesting import PROMPTED, State, create, evaluated, jsonl, pair, prompted, watched
from tests.gateway.evaluations.streaming import COLORS

COUNT = 12


class Store(LocalObjectStore):
    """Files in a folder; `reads` are what the next readings meet in place of the bytes."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        self.reads: list[Exception] = []

    async def get(self, content_hash: str) -> bytes:
        if self.reads:
            raise self.reads.pop(0)
        return await super().get(content_hash)

    def damage(self, content_hash: str) -> None:
        """Changes a byte, as a disk does."""
        path = self.root / content_hash[:2] / content_hash[2:4] / content_hash
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "WAITS_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(jobs, "TICK_SECONDS", 0.05)


@pytest.fixture
def store(tmp_path: Path, parts: Parts) -> Store:
    parts.objects = Store(tmp_path)  # type: ignore[assignment]
    return parts.objects  # type: ignore[return-value]


async def upload(gateway: Gateway, data: bytes) -> str:
    request = service_pb.UploadManifestPartRequest(data=data)
    return (await gateway.evaluations.UploadManifestPart(request)).content_hash


def of_parts(hashes: list[str]) -> pb.EvaluationManifest:
    return pb.EvaluationManifest(parts=pb.EvaluationManifestParts(content_hashes=hashes))


def halves(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


async def test_damaged_bytes_are_read_again_and_a_store_that_is_away_is_not_waited_for() -> None:
    seen: list[str] = []

    def reading(*outcomes: Exception | bytes):
        left = list(outcomes)

        async def read() -> bytes:
            seen.append("read")
            one = left.pop(0)
            if isinstance(one, Exception):
                raise one
            return one

        return read

    damaged = DamagedObjectError("ab")
    away = UnavailableError(Reason.OBJECT_STORE_UNAVAILABLE, "away")
    assert await stored.read_whole(reading(damaged, damaged, b"whole")) == b"whole"
    with pytest.raises(DamagedObjectError):
        await stored.read_whole(reading(*[damaged] * 4))
    assert len(seen) == 6
    with pytest.raises(UnavailableError) as caught:
        await stored.read_whole(reading(away, b"whole"))
    assert not isinstance(caught.value, DamagedObjectError) and len(seen) == 7


@pytest.mark.integration
async def test_a_damaged_part_fails_the_job_and_is_named(gateway_on: Gateway, store: Store) -> None:
    hashes = [await upload(gateway_on, part) for part in halves(jsonl(pair(n) for n in range(COUNT)))]
    store.damage(hashes[1])
    evaluation, results = await watched(gateway_on, await create(gateway_on, b"", manifest=of_parts(hashes)))
    assert evaluation.state == State.STATE_FAILED and not results
    assert evaluation.error.reason == Reason.MANIFEST_UNREADABLE.value
    assert evaluation.error.field == "manifest.parts.content_hashes[1]"
    assert f"part {hashes[1]} is damaged" in evaluation.error.message
    assert not gateway_on.parts.scorer.calls


@pytest.mark.integration
async def test_the_same_bytes_again_mend_a_damaged_part(gateway_on: Gateway, store: Store) -> None:
    data = jsonl(pair(n) for n in range(COUNT))
    part = await upload(gateway_on, data)
    store.damage(part)
    assert await upload(gateway_on, data) == part
    evaluation, results = await watched(gateway_on, await create(gateway_on, b"", manifest=of_parts([part])))
    assert evaluation.state == State.STATE_SUCCEEDED and len(results) == COUNT


@pytest.mark.integration
async def test_a_part_that_is_gone_fails_the_job_and_is_named(gateway_on: Gateway, store: Store) -> None:
    part = await upload(gateway_on, jsonl([pair(0)]))
    await store.delete(part)
    evaluation, _ = await watched(gateway_on, await create(gateway_on, b"", manifest=of_parts([part])))
    assert (evaluation.state, evaluation.error.reason) == (State.STATE_FAILED, Reason.MANIFEST_UNREADABLE.value)
    assert f"part {part} is gone" in evaluation.error.message


@pytest.mark.integration
async def test_a_store_that_is_away_is_waited_for(gateway_on: Gateway, store: Store) -> None:
    away = UnavailableError(Reason.OBJECT_STORE_UNAVAILABLE, "away")
    part = await upload(gateway_on, jsonl(pair(n) for n in range(COUNT)))
    store.reads = [away, away, DamagedObjectError(part), away]
    evaluation, results = await watched(gateway_on, await create(gateway_on, b"", manifest=of_parts([part])))
    assert evaluation.state == State.STATE_SUCCEEDED and len(results) == COUNT
    assert not store.reads


@pytest.mark.integration
async def test_what_has_a_result_is_kept_when_a_part_is_damaged_later(
    database_url: str, parts: Parts, store: Store, tmp_path: Path
) -> None:
    parts.generator.gate.clear()
    async with running(database_url, parts) as first:
        hashes = [await upload(first, part) for part in halves(jsonl(prompted(n) for n in range(30)))]
        name = await create(first, b"", PROMPTED, manifest=of_parts(hashes))
        await parts.generator.go_on_until(lambda: len(parts.generator.made) >= 25)
    parts.generator.gate.set()
    store.damage(hashes[0])
    async with running(database_url, parts) as second:
        evaluation, results = await watched(second, name)
        request = service_pb.GetEvaluationReportRequest(name=name)
        answer = await second.evaluations.GetEvaluationReport(request)
        report = answer.report
    assert evaluation.state == State.STATE_FAILED and 0 < len(results) == evaluation.done_count < 30
    assert report.evaluation == evaluation and hashes[0] in report.evaluation.error.message
    assert [mean.count for mean in report.means] == [len(results)]
    written = write_evaluation_report(report_from(answer), tmp_path / "report.md").read_text()
    assert "failed (manifest.parts.content_hashes[0]: part " in written and f"{len(results)} of 30 items" in written
    await clear(database_url)


@pytest.mark.integration
async def test_a_damaged_picture_fails_its_item_alone(gateway_on: Gateway, store: Store) -> None:
    request = image_service_pb2.UploadImageRequest
    good, bad = [(await gateway_on.images.UploadImage(request(data=one))).info.content_hash for one in COLORS[:2]]
    store.damage(bad)
    rows = [pair(0, image=good), pair(1, image=bad), pair(2), pair(3, target=bad)]
    evaluation, results = await evaluated(gateway_on, jsonl(rows))
    assert evaluation.state == State.STATE_SUCCEEDED and evaluation.failed_count == 2
    errors = {one.offset: one.error for one in results if one.HasField("error")}
    assert {offset: (one.code, one.error.reason, one.error.field) for offset, one in errors.items()} == {
        1: ("INVALID_ARGUMENT", "IMAGE_UNREADABLE", "image.content_hash"),
        3: ("INVALID_ARGUMENT", "IMAGE_UNREADABLE", "target.content_hash"),
    }
    assert all(f"the stored bytes of {bad} are damaged" in one.error.message for one in errors.values())


@pytest.fixture
async def gateway_on(store: Store, gateway: Gateway) -> Gateway:
    """A gateway whose objects are files."""
    assert gateway.parts.objects is store
    return gateway
