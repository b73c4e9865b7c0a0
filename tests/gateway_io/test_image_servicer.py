"""ImageService through gRPC, on a real database, Redis, object store and backends at the seam."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.gateway.v1.image_service_pb2_grpc import ImageServiceStub, add_ImageServiceServicer_to_server
from likeness.types.v1 import image_pb2
from services.cluster.postgres import Postgres
from services.cluster.redis_server import RedisServer
from services.cluster.state import make_run_dir, remove_run_dir
from services.common.errors import InvalidInputError
from services.common.heads import head_of
from services.common.images import content_hash
from services.gateway import scoring
from services.gateway.backends.clients import GeneratorClient, ScorerClient
from services.gateway.cache import VectorCache
from services.gateway.generation import ImageGeneration
from services.gateway.loops.retry import RetryPolicy
from services.gateway.objects import LocalObjectStore
from services.gateway.rpc.image_servicer import ImageServicer
from services.gateway.rpc.interceptors import CallInterceptor
from services.gateway.scoring import CachedScoring
from services.gateway.store.database import Database
from services.gateway.store.images import ImageRepository
from services.gateway.store.migrate import migrate
from tests.cluster.running import home_folder
from tests.gateway.unlimited import Unlimited
from tests.gateway_io.seam import Backends
from tests.gateway_io.seam_pictures import picture
from tests.gateway_io.seam_scorer import BACKBONE, Profiles
from tests.gateway_io.test_catalog_servicer import PROFILE

pytestmark = pytest.mark.integration

RED, BLUE = picture("red"), picture("blue")
PROFILES = Profiles({"anna": head_of(BACKBONE, [0.5, 0.25, 0])})


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """A migrated database on a server of this module."""
    run_dir = make_run_dir()
    with home_folder() as home, asyncio.Runner() as runner:
        postgres = Postgres(home / "postgres", run_dir, home / "postgres.log")
        runner.run(postgres.start())
        runner.run(migrate(postgres.url))
        yield postgres.url
        runner.run(postgres.stop())
    remove_run_dir(str(run_dir))


@pytest_asyncio.fixture
async def stub(
    backends: Backends, redis: RedisServer, database_url: str, tmp_path: Path
) -> AsyncIterator[ImageServiceStub]:
    database, objects = Database(database_url), LocalObjectStore(tmp_path / "objects")
    scorer, cache = ScorerClient(backends.address), VectorCache(redis.url, ttl_seconds=100)
    images, generator = ImageRepository(database, objects), GeneratorClient(backends.address)
    generation = ImageGeneration(generator, images, objects, Unlimited(), retry=RetryPolicy(), timeout_seconds=30)
    servicer = ImageServicer(objects, images, CachedScoring(scorer, cache, PROFILES), PROFILE, generation)
    server = grpc.aio.server(interceptors=[CallInterceptor()])
    add_ImageServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield ImageServiceStub(channel)
    await server.stop(None)
    await cache.close()
    await generator.close()
    await scorer.close()
    await database.close()


def by_bytes(*pictures: bytes) -> list[image_pb2.Image]:
    return [image_pb2.Image(data=data) for data in pictures]


def reason_and_field(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """Reason and field of google.rpc details."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])  # type: ignore[arg-type]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return info.reason, bad.field_violations[0].field if bad.field_violations else ""


async def test_a_picture_is_stored_once_and_comes_back_whole(stub: ImageServiceStub) -> None:
    first = await stub.UploadImage(pb.UploadImageRequest(data=RED))
    again = await stub.UploadImage(pb.UploadImageRequest(data=RED))
    assert first == again
    assert first.info.content_hash == content_hash(RED)
    assert (first.info.media_type, first.info.width_pixels, first.info.size_bytes) == ("image/png", 16, len(RED))
    response = await stub.GetImage(pb.GetImageRequest(content_hash=first.info.content_hash))
    assert (response.data, response.info) == (RED, first.info)


@pytest.mark.parametrize(
    ("hash_", "code", "reason"),
    [
        ("0" * 64, grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND"),
        ("", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ("../secret", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
async def test_a_hash_without_a_picture(stub: ImageServiceStub, hash_: str, code: grpc.StatusCode, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetImage(pb.GetImageRequest(content_hash=hash_))
    assert (caught.value.code(), reason_and_field(caught.value)[0]) == (code, reason)


async def test_what_is_no_picture_is_not_stored(stub: ImageServiceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.UploadImage(pb.UploadImageRequest(data=b"no picture"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_and_field(caught.value) == ("IMAGE_UNREADABLE", "data")


async def test_scores_by_bytes_and_by_hash_with_the_offered_defaults(stub: ImageServiceStub) -> None:
    stored = (await stub.UploadImage(pb.UploadImageRequest(data=BLUE))).info.content_hash
    candidates = [*by_bytes(RED), image_pb2.Image(content_hash=stored)]
    response = await stub.ScoreImages(pb.ScoreImagesRequest(target=by_bytes(RED)[0], candidates=candidates))
    scores = [{score.metric: score.raw for score in one.scores} for one in response.candidates]
    assert scores == [{"pixels": 1, "mean": 1}, {"pixels": 0, "mean": pytest.approx(1 / 3)}]


async def test_a_bad_candidate_fails_alone_and_order_is_kept(stub: ImageServiceStub) -> None:
    absent = image_pb2.Image(content_hash="0" * 64)
    candidates = [*by_bytes(b"broken", BLUE, b""), absent, image_pb2.Image(), *by_bytes(RED)]
    request = pb.ScoreImagesRequest(target=by_bytes(RED)[0], candidates=candidates, metrics=["pixels"])
    response = await stub.ScoreImages(request)
    assert [one.error.reason for one in response.candidates] == [
        "IMAGE_UNREADABLE",
        "",
        "IMAGE_UNREADABLE",
        "IMAGE_NOT_FOUND",
        "INVALID_FIELD",
        "",
    ]
    assert [one.scores[0].raw for one in response.candidates if one.scores] == [0, 1]
    assert response.candidates[3].error.field == "candidates[3].content_hash"


async def test_a_text_alone_is_scored_by_the_metrics_that_read_text(stub: ImageServiceStub) -> None:
    response = await stub.ScoreImages(pb.ScoreImagesRequest(text="red", candidates=by_bytes(RED)))
    assert [(score.metric, score.raw) for score in response.candidates[0].scores] == [("mean-text", 1)]


async def test_pictures_alone_are_scored_by_what_reads_pictures(stub: ImageServiceStub) -> None:
    response = await stub.ScoreImages(pb.ScoreImagesRequest(candidates=by_bytes(RED), metrics=["bright"]))
    assert response.candidates[0].scores[0].raw == pytest.approx(1 / 3)


async def test_personal_metrics_score_known_pictures_while_the_scorer_is_away(
    backends: Backends, stub: ImageServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [(await stub.UploadImage(pb.UploadImageRequest(data=data))).info.content_hash for data in (RED, BLUE)]
    target, candidate = (image_pb2.Image(content_hash=one) for one in stored)
    request = pb.ScoreImagesRequest(target=target, candidates=[candidate], metrics=["clpips:anna"])
    before = await stub.ScoreImages(request)
    assert [(score.metric, score.raw) for score in before.candidates[0].scores] == [("clpips:anna", 0.5)]
    await backends.stop()
    monkeypatch.setattr(scoring, "CATALOG_SECONDS", 0)
    assert await stub.ScoreImages(request) == before


async def test_without_a_target_personal_metrics_are_refused_like_others(stub: ImageServiceStub) -> None:
    said = []
    for name in ("mean", "clpips:anna"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ScoreImages(pb.ScoreImagesRequest(candidates=by_bytes(RED), metrics=["mean-text", name]))
        said.append((caught.value.details() or "").replace(name, "*"))
    assert said[0] == said[1] and "target" in said[0]


async def test_the_request_id_reaches_the_scorer(backends: Backends, stub: ImageServiceStub) -> None:
    request = pb.ScoreImagesRequest(target=by_bytes(RED)[0], candidates=by_bytes(RED), metrics=["pixels"])
    await stub.ScoreImages(request, metadata=(("x-request-id", "mine-1"),))
    assert backends.scorer.metadata["x-request-id"] == backends.scorer.scored[0].request_id == "mine-1"


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"),
    [
        ({"metrics": ["nice"]}, grpc.StatusCode.NOT_FOUND, "METRIC_NOT_FOUND", ""),
        ({"metrics": ["mean-text"]}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "text"),
        ({"target": None}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "target"),
        ({"target": None, "metrics": ["mean"]}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "target"),
        ({"metrics": ["mean", "clpips:carl"]}, grpc.StatusCode.NOT_FOUND, "PROFILE_NOT_FOUND", ""),
        ({"target": None, "metrics": ["clpips:anna"]}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "target"),
        ({"target": b"broken"}, grpc.StatusCode.INVALID_ARGUMENT, "IMAGE_UNREADABLE", "target.data"),
        ({"candidates": []}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "candidates"),
        ({"candidates": [RED] * 257}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "candidates"),
        ({"metrics": ["mean"] * 33}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "metrics"),
        ({"text": "a" * 2001}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "text"),
    ],
)
async def test_bad_requests(
    stub: ImageServiceStub, request_: dict[str, object], code: grpc.StatusCode, reason: str, field: str
) -> None:
    fields = {"target": RED, "candidates": [BLUE], **request_}
    target, candidates = fields.pop("target"), fields.pop("candidates")
    request = pb.ScoreImagesRequest(candidates=by_bytes(*candidates), **fields)  # type: ignore[misc, arg-type]
    if target is not None:
        request.target.data = target  # type: ignore[assignment]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ScoreImages(request)
    assert (caught.value.code(), *reason_and_field(caught.value)) == (code, reason, field)


async def test_pictures_from_a_prompt_carry_everything_to_the_generator(
    backends: Backends, stub: ImageServiceStub
) -> None:
    request = pb.GenerateImagesRequest(
        prompt="red",
        negative_prompt="blue",
        seed=7,
        count=2,
        steps=3,
        guidance_scale=0.0,
        width_pixels=32,
        height_pixels=16,
        scheduler="ddim",
        model="paint",
    )
    events = [event async for event in stub.GenerateImages(request, metadata=(("x-request-id", "mine-1"),))]
    kinds = [event.WhichOneof("event") for event in events if event.image_number == 2]
    assert kinds == ["queued", "started", "step", "step", "step", "image"]
    assert [event.image.data for event in events if event.HasField("image")] == [RED, RED]
    sent = backends.generator.requests[0]
    assert (sent.model, sent.request_id, [item.seed for item in sent.items]) == ("paint", "mine-1", [7, 8])
    item = sent.items[1]
    assert (item.prompt, item.negative_prompt, item.steps, item.scheduler) == ("red", "blue", 3, "ddim")
    assert item.HasField("guidance_scale") and (item.width_pixels, item.height_pixels) == (32, 16)


async def test_what_is_left_out_is_the_models_choice(backends: Backends, stub: ImageServiceStub) -> None:
    assert [event async for event in stub.GenerateImages(pb.GenerateImagesRequest(prompt="red"))]
    item = backends.generator.requests[0].items[0]
    unset = ("steps", "guidance_scale", "width_pixels", "height_pixels")
    assert not any(item.HasField(name) for name in unset) and item.scheduler == ""


async def test_cancelling_the_call_ends_it_in_the_generator(backends: Backends, stub: ImageServiceStub) -> None:
    call = stub.GenerateImages(pb.GenerateImagesRequest(prompt="stuck"))
    while not (await call.read()).HasField("started"):
        pass
    call.cancel()
    async with asyncio.timeout(10):
        await backends.generator.cancelled.wait()


async def test_a_refusal_of_the_generator_names_the_field_of_this_request(
    backends: Backends, stub: ImageServiceStub
) -> None:
    backends.generator.failures.add_error(InvalidInputError("items[0].steps", "is -1", allowed="1 to 9"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GenerateImages(pb.GenerateImagesRequest(prompt="red", steps=-1)).read()
    assert reason_and_field(caught.value) == ("INVALID_FIELD", "steps")
    assert caught.value.details() == "steps: is -1; allowed: 1 to 9"
