"""StreamEvaluations through a real channel and a real database: answers, bad items, order, settings."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from likeness.gateway.v1 import image_service_pb2
from likeness.types.v1 import image_pb2
from services.common.errors import OverloadedError, Reason, UnavailableError
from services.common.images import content_hash
from services.gateway.domain import ItemError
from services.gateway.evaluations.prompts import seed_of
from services.gateway.ports import Priority
from tests.gateway.conftest import FAST_RETRY, TARGET, Gateway
from tests.gateway.doubles import draw, likeness
from tests.gateway.evaluations.streaming import COLORS, METRICS, Stream, evaluate, item, refused, streaming
from tests.gateway.failures import details_of, reason_of

pytestmark = pytest.mark.integration

RED = "rgb 200 0 0"
MAKING = pb.EvaluationSettings(metrics=["pixels", "named"], generation=pb.EvaluationGeneration(count=2, seed=5))


def by_offset(stream: Stream) -> list[pb.EvaluationResult]:
    return sorted(stream.results, key=lambda one: one.offset)


async def test_every_item_gets_its_scores(gateway: Gateway) -> None:
    stream = await evaluate(gateway, [item(n, group="g", system="s") for n in range(40)])
    results = by_offset(stream)
    assert [one.offset for one in results] == list(range(40))
    for one in results:
        assert (one.item_id, one.group, one.system) == (f"item {one.offset}", "g", "s")
        (image,) = one.images
        assert [score.metric for score in image.scores] == METRICS
        assert image.scores[0].raw == likeness(TARGET, COLORS[one.offset % 24])
        assert not one.HasField("error") and not one.replayed
    assert stream.committed[-1] == 40 and stream.committed == sorted(stream.committed)
    assert stream.opened is not None and stream.opened.evaluation.state == pb.Evaluation.STATE_RUNNING


@pytest.mark.parametrize("together", [1, 7, 100])
async def test_items_may_travel_together(gateway: Gateway, together: int) -> None:
    async with streaming(gateway) as stream:
        await stream.send(*(item(n) for n in range(50)), together=together)
        results = await stream.finished()
    assert [one.offset for one in results] == list(range(50))


async def test_known_scores_are_not_computed_again(gateway: Gateway) -> None:
    first = by_offset(await evaluate(gateway, [item(n) for n in range(24)]))
    scored = gateway.parts.scorer.scored.total()
    again = by_offset(await evaluate(gateway, [item(n) for n in range(24)]))
    assert gateway.parts.scorer.scored.total() == scored
    assert [one.images for one in again] == [one.images for one in first]


async def test_only_the_missing_metric_is_computed(gateway: Gateway) -> None:
    await evaluate(gateway, [item(0)], settings=pb.EvaluationSettings(metrics=["red"]))
    (result,) = (await evaluate(gateway, [item(0)])).results
    assert [score.metric for score in result.images[0].scores] == METRICS
    assert len(gateway.parts.scores.values) == 2


async def test_a_broken_metric_is_said_and_not_remembered(gateway: Gateway) -> None:
    gateway.parts.scorer.broken_metrics = {"red"}
    (result,) = (await evaluate(gateway, [item(0)])).results
    fine, broken = result.images[0].scores
    assert not fine.HasField("error") and broken.error.reason == "INTERNAL"
    gateway.parts.scorer.broken_metrics = set()
    (result,) = (await evaluate(gateway, [item(0)])).results
    assert not result.images[0].scores[1].HasField("error")


async def test_infinite_values_and_their_replay(gateway: Gateway) -> None:
    same = item(0, image=image_pb2.Image(data=TARGET))
    settings = pb.EvaluationSettings(metrics=["blue"])
    async with streaming(gateway, settings=settings) as stream:
        await stream.send(same)
        await stream.stored(1)
        await stream.send(same)
        first, again = await stream.answered(2)
    assert first.images[0].scores[0].raw == float("inf")
    assert again.replayed and again.images == first.images


async def test_pictures_by_hash_belong_to_the_caller(gateway: Gateway) -> None:
    await gateway.images.UploadImage(image_service_pb2.UploadImageRequest(data=COLORS[1]))
    known, unknown = content_hash(COLORS[1]), content_hash(COLORS[2])
    stream = await evaluate(
        gateway,
        [
            item(0, image=image_pb2.Image(content_hash=known)),
            item(1, image=image_pb2.Image(content_hash=unknown)),
            item(2, target=image_pb2.Image(content_hash=known)),
        ],
    )
    first, second, third = by_offset(stream)
    assert first.images[0].content_hash == known and not first.HasField("error")
    assert (second.error.code, second.error.error.reason) == ("NOT_FOUND", "IMAGE_NOT_FOUND")
    assert second.error.error.field == "image.content_hash"
    assert third.images[0].scores[0].raw == likeness(COLORS[1], COLORS[2])


BAD: list[tuple[pb.EvaluationItem, str, str]] = [
    (item(0, image=image_pb2.Image(data=b"no picture")), "IMAGE_UNREADABLE", "image.data"),
    (item(0, target=image_pb2.Image(data=b"")), "IMAGE_UNREADABLE", "target.data"),
    (item(0, image=image_pb2.Image()), "INVALID_FIELD", "image"),
    (item(0, image=image_pb2.Image(content_hash="xyz")), "INVALID_FIELD", "image.content_hash"),
    (item(0, item_id=""), "INVALID_FIELD", "item_id"),
    (item(0, item_id="a\x00b"), "INVALID_FIELD", "item_id"),
    (item(0, group="g" * 201), "INVALID_FIELD", "group"),
    (item(0, system="s" * 201), "INVALID_FIELD", "system"),
    (item(0, text="t" * 2001), "INVALID_FIELD", "text"),
    (pb.EvaluationItem(offset=0, item_id="a", target=image_pb2.Image(data=TARGET)), "INVALID_FIELD", "subject"),
    (pb.EvaluationItem(offset=0, item_id="a", image=image_pb2.Image(data=TARGET)), "INVALID_FIELD", "target"),
    (item(0, prompts=[RED]), "INVALID_FIELD", "prompts"),
]


@pytest.mark.parametrize(("bad", "reason", "field"), BAD, ids=[f"{field}-{n}" for n, (_, _, field) in enumerate(BAD)])
async def test_a_bad_item_fails_alone(gateway: Gateway, bad: pb.EvaluationItem, reason: str, field: str) -> None:
    stream = await evaluate(gateway, [bad, item(1)])
    first, second = by_offset(stream)
    assert (first.error.code, first.error.error.reason, first.error.error.field) == ("INVALID_ARGUMENT", reason, field)
    assert not first.images and second.images and not second.HasField("error")
    assert stream.committed[-1] == 2


async def test_a_text_metric_needs_a_text(gateway: Gateway) -> None:
    settings = pb.EvaluationSettings(metrics=["named"])
    stream = await evaluate(gateway, [item(0), item(1, text=RED)], settings=settings)
    first, second = by_offset(stream)
    assert first.error.error.field == "text"
    assert second.images[0].scores[0].raw == likeness(draw(RED, 0), COLORS[1])


async def test_prompts_become_pictures_with_records_and_scores(gateway: Gateway) -> None:
    stream = await evaluate(gateway, [item(0, prompts=[RED, "rgb 0 0 200"]), item(1, prompts=[RED])], settings=MAKING)
    first, second = by_offset(stream)
    seeds = [seed_of("item 0", number, 5) + more for number in (0, 1) for more in (0, 1)]
    assert [image.record.seed for image in first.images] == seeds
    assert [image.record.prompt for image in first.images] == [RED, RED, "rgb 0 0 200", "rgb 0 0 200"]
    for image in first.images:
        made = draw(image.record.prompt, image.record.seed)
        assert image.content_hash == content_hash(made)
        assert image.scores[0].raw == likeness(TARGET, made)
        # The text is the prompt.
        assert image.scores[1].raw == likeness(draw(image.record.prompt, 0), made)
    assert second.images[0].record.seed != first.images[0].record.seed
    assert set(gateway.parts.generator.priorities) == {Priority.BATCH}
    assert not gateway.parts.objects.data


async def test_the_same_item_under_two_systems_starts_from_the_same_noise(gateway: Gateway) -> None:
    items = [item(0, item_id="x", system="a", prompts=[RED]), item(1, item_id="x", system="b", prompts=["rgb 1 2 3"])]
    first, second = by_offset(await evaluate(gateway, items, settings=MAKING))
    assert [one.record.seed for one in first.images] == [one.record.seed for one in second.images]


async def test_a_seed_of_its_own_and_kept_pictures(gateway: Gateway) -> None:
    settings = pb.EvaluationSettings(metrics=["pixels"], generation=pb.EvaluationGeneration(keep=True, steps=7))
    prompts = pb.EvaluationPrompts(prompts=[RED], seed=77)
    (result,) = (await evaluate(gateway, [item(0, prompts=prompts)], settings=settings)).results
    (image,) = result.images
    assert (image.record.seed, image.record.steps) == (77, 7)
    stored = await gateway.images.GetImage(image_service_pb2.GetImageRequest(content_hash=image.content_hash))
    assert stored.data == draw(RED, 77)


async def test_a_picture_that_cannot_be_made_leaves_the_others(gateway: Gateway) -> None:
    gateway.parts.generator.broken = {"rgb 9 9 9": ItemError("GENERATION_FAILED", "no paint\x00")}
    (result,) = (await evaluate(gateway, [item(0, prompts=[RED, "rgb 9 9 9"])], settings=MAKING)).results
    assert [image.HasField("error") for image in result.images] == [False, False, True, True]
    assert result.images[2].error.message == "no paint" and len(result.images[0].scores) == 2


async def test_what_the_generator_refuses_fails_the_item(gateway: Gateway) -> None:
    prompts = pb.EvaluationPrompts(prompts=[RED], seed=2**64 - 1)
    (result,) = (await evaluate(gateway, [item(0, prompts=prompts)], settings=MAKING)).results
    assert (result.error.code, result.error.error.field) == ("INVALID_ARGUMENT", "prompts.seed")


async def test_a_full_queue_is_waited_for(gateway: Gateway) -> None:
    full = OverloadedError(Reason.QUEUE_FULL, "full", retry_after_seconds=0.001)
    gateway.parts.generator.failures = [full]
    (result,) = (await evaluate(gateway, [item(0, prompts=[RED])], settings=MAKING)).results
    assert len(result.images) == 2


async def test_answers_come_as_they_are_ready(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    async with streaming(gateway, settings=MAKING) as stream:
        await stream.send(item(0, prompts=[RED]), item(1, text=RED), item(2, text=RED))
        results = await stream.answered(2)
        assert {one.offset for one in results} == {1, 2} and not stream.committed
        gateway.parts.generator.gate.set()
        await stream.stored(3)
        assert [one.offset for one in stream.results][2:] == [0]


async def test_a_backend_that_stays_away_ends_the_stream_and_loses_nothing(gateway: Gateway) -> None:
    away = UnavailableError(Reason.BACKEND_UNAVAILABLE, "gone")
    async with streaming(gateway) as stream:
        await stream.send(item(0))
        await stream.stored(1)
        gateway.parts.scorer.failures = [away] * FAST_RETRY.attempts
        await stream.send(item(1))
        assert reason_of(await stream.failure()) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
    async with streaming(gateway, stream.name) as again:
        assert again.opened is not None and again.opened.evaluation.committed_offset == 1
        await again.send(item(1))
        assert [one.offset for one in await again.finished()] == [1]


async def test_settings_that_cannot_be(gateway: Gateway) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    twice = pb.EvaluationSettings(metrics=["red", "red"])
    assert await refused(gateway, settings=twice) == (invalid, "INVALID_FIELD", "settings.metrics")
    none = pb.EvaluationSettings(metrics=["none"])
    assert (await refused(gateway, settings=none))[1] == "METRIC_NOT_FOUND"
    nobody = pb.EvaluationSettings(metrics=["clpips:nobody"])
    assert (await refused(gateway, settings=nobody))[1] == "PROFILE_NOT_FOUND"
    model = pb.EvaluationSettings(generation=pb.EvaluationGeneration(model="none"))
    assert (await refused(gateway, settings=model))[1] == "MODEL_NOT_FOUND"
    many = pb.EvaluationSettings(generation=pb.EvaluationGeneration(count=17))
    assert await refused(gateway, settings=many) == (invalid, "INVALID_FIELD", "settings.generation.count")
    assert await refused(gateway, "evaluations/none") == (grpc.StatusCode.NOT_FOUND, "EVALUATION_NOT_FOUND")
    assert await refused(gateway, "sessions/a") == (invalid, "INVALID_FIELD", "config.evaluation")
    assert (await refused(gateway, max_outstanding_items=4097))[2] == "config.max_outstanding_items"
    assert (await refused(gateway, max_outstanding_bytes=1000))[2] == "config.max_outstanding_bytes"
    assert (await refused(gateway, display_name="n" * 201))[2] == "config.display_name"
    assert (await refused(gateway, request_id="no uuid"))[2] == "request_id"


async def test_the_first_request_is_the_config_and_no_other_is(gateway: Gateway) -> None:
    call = gateway.evaluations.StreamEvaluations()
    await call.write(service_pb.StreamEvaluationsRequest(items=service_pb.EvaluationItems(items=[item(0)])))
    error = await Stream(call).failure()
    assert reason_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "config")
    async with streaming(gateway) as stream:
        again = service_pb.StreamEvaluationsConfig()
        await stream.call.write(service_pb.StreamEvaluationsRequest(config=again))
        assert reason_of(await stream.failure())[1:] == ("INVALID_FIELD", "config")


async def test_defaults_are_filled_in(gateway: Gateway) -> None:
    settings = pb.EvaluationSettings(generation=pb.EvaluationGeneration())
    stream = await evaluate(gateway, [], settings=settings, display_name="mine")
    assert stream.opened is not None
    stored = stream.opened.evaluation
    # The scorer has no lpips-squeeze.
    assert list(stored.settings.metrics) == ["pixels", "red"]
    assert (stored.settings.generation.model, stored.settings.generation.count) == ("paint", 1)
    assert (stored.display_name, stored.source) == ("mine", pb.Evaluation.SOURCE_STREAM)
    assert stream.opened.max_outstanding_items == 1024


async def test_a_request_id_creates_one_evaluation(gateway: Gateway) -> None:
    request_id = str(uuid.uuid4())
    first, second = [await evaluate(gateway, [item(0)], request_id=request_id) for _ in range(2)]
    assert first.name == second.name
    assert [one.replayed for one in (*first.results, *second.results)] == [False, True]
    error = await refused(gateway, request_id=request_id, display_name="other")
    assert error == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_an_item_larger_than_the_bound_fails_alone(gateway: Gateway) -> None:
    large = item(1, image=image_pb2.Image(data=COLORS[0] + bytes(1 << 20)))
    stream = await evaluate(gateway, [item(0), large, item(2)], max_outstanding_bytes=1 << 20)
    results = by_offset(stream)
    assert [one.HasField("error") for one in results] == [False, True, False]
    assert results[1].error.error.reason == "ITEM_TOO_LARGE"


async def test_an_offset_that_is_none(gateway: Gateway) -> None:
    async with streaming(gateway) as stream:
        await stream.send(item(-1))
        error = await stream.failure()
        assert reason_of(error) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "item.offset")


async def test_a_gap_is_said_after_what_came_before_it_is_answered(gateway: Gateway) -> None:
    async with streaming(gateway) as stream:
        await stream.send(item(0), item(1), item(3))
        error = await stream.failure()
        assert error.code() is grpc.StatusCode.OUT_OF_RANGE
        info = details_of(error)["ErrorInfo"]
        assert (info.reason, info.metadata["expected_offset"]) == ("OFFSET_GAP", "2")
        assert sorted(one.offset for one in stream.results) == [0, 1] and stream.committed[-1] == 2


async def test_leaving_cancels_what_is_under_way(gateway: Gateway) -> None:
    generator = gateway.parts.generator
    generator.gate.clear()
    async with streaming(gateway, settings=MAKING) as stream:
        await stream.send(item(0, prompts=[RED]))
        while not generator.calls:
            await asyncio.sleep(0.01)
    while not generator.cancelled:
        await asyncio.sleep(0.01)
    assert generator.finished == 0
