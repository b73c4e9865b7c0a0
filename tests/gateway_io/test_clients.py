"""The three clients: every value arrives, streams end as the port promises."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from likeness.generator.v1 import generator_service_pb2 as generator_pb
from services.common.errors import (
    InternalError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    Reason,
    UnavailableError,
)
from services.common.heads import Recipe, head_of
from services.gateway import batches, deadline
from services.gateway.backends import converters
from services.gateway.backends.clients import GeneratorClient, RefinerClient, ScorerClient
from services.gateway.domain import Aspect, Feedback, PromptAttempt, PromptEdit
from services.gateway.ports import (
    GeneratedImage,
    GenerationEvent,
    GenerationFailure,
    GenerationItem,
    GenerationProgress,
    Priority,
    RankedDifferences,
    ScoreSubject,
)
from services.gateway.profiles.model import FitDecision, FitReport
from tests.gateway_io.seam import Backends
from tests.gateway_io.seam_pictures import difference, mean_color, picture
from tests.gateway_io.seam_scorer import BACKBONE

CALL: dict[str, Any] = {
    "model": "paint",
    "request_id": "r",
    "timeout_seconds": 30,
    "priority": Priority.INTERACTIVE,
}


async def generate(backends: Backends, *items: GenerationItem) -> list[GenerationEvent]:
    client = GeneratorClient(backends.address)
    try:
        return [event async for event in client.generate(items, **CALL)]
    finally:
        await client.close()


async def test_generation_reports_every_step_and_ends_with_the_picture(backends: Backends) -> None:
    events = await generate(backends, GenerationItem("a", "red", seed=7, steps=3, guidance_scale=0.0))
    assert events[:-1] == [GenerationProgress("a", 0, 0), *(GenerationProgress("a", step, 3) for step in range(4))]
    image = events[-1]
    assert isinstance(image, GeneratedImage)
    assert (image.data, image.record.seed, image.record.steps) == (picture("red"), 7, 3)
    sent = backends.generator.requests[0]
    assert (sent.model, sent.request_id) == ("paint", "r")
    assert sent.items[0].HasField("guidance_scale"), "zero is a value, not the default"
    assert not sent.items[0].HasField("width_pixels")


async def test_the_generator_learns_how_urgent_it_is(backends: Backends) -> None:
    item = GenerationItem("a", "red", seed=1)
    await generate(backends, item)
    with deadline.bound(20.0):
        await generate(backends, item)
    urgent, capped = backends.generator.requests
    assert (urgent.priority, urgent.time_limit.ToMilliseconds()) == (generator_pb.PRIORITY_INTERACTIVE, 30_000)
    assert 0 < capped.time_limit.ToMilliseconds() <= 20_000
    nothing = converters.generate_request(
        [], model="", request_id="", time_limit_seconds=1e-9, priority=Priority.NORMAL
    )
    assert (nothing.priority, nothing.time_limit.ToMilliseconds()) == (generator_pb.PRIORITY_NORMAL, 1)


def test_progress_says_what_is_ahead_and_what_is_left() -> None:
    queued = generator_pb.GenerateResponse(item_id="a", queued=generator_pb.QueuedEvent(items_ahead=3))
    assert converters.generation_event(queued) == GenerationProgress("a", 0, 0, items_ahead=3)
    step = generator_pb.StepEvent(step=1, total_steps=4, time_left=Duration(seconds=1, nanos=500_000_000))
    progress = converters.generation_event(generator_pb.GenerateResponse(item_id="a", step=step))
    assert progress == GenerationProgress("a", 1, 4, seconds_left=1.5)


async def test_a_failed_item_leaves_the_others(backends: Backends) -> None:
    events = await generate(backends, GenerationItem("a", "broken", seed=1), GenerationItem("b", "blue", seed=2))
    ends = [event for event in events if not isinstance(event, GenerationProgress)]
    assert isinstance(ends[0], GenerationFailure) and ends[0].error.message == "no luck"
    assert isinstance(ends[1], GeneratedImage) and ends[1].item_id == "b"


async def test_an_item_without_an_answer_fails(backends: Backends) -> None:
    events = await generate(backends, GenerationItem("a", "silent", seed=1))
    assert isinstance(events[-1], GenerationFailure)
    assert events[-1].error.reason == Reason.GENERATION_FAILED


async def test_closing_the_stream_cancels_the_generation(backends: Backends) -> None:
    client = GeneratorClient(backends.address)
    items = [GenerationItem("a", "stuck", seed=1)]
    async with aclosing(client.generate(items, **CALL)) as events:
        async for event in events:
            if event == GenerationProgress("a", 0, 2):
                break
    async with asyncio.timeout(10):
        await backends.generator.cancelled.wait()
    await client.close()


async def test_cancelling_the_reader_cancels_the_generation(backends: Backends) -> None:
    task = asyncio.create_task(generate(backends, GenerationItem("a", "stuck", seed=1)))
    while not backends.generator.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        await backends.generator.cancelled.wait()


async def test_generation_is_never_repeated_by_the_client(backends: Backends) -> None:
    backends.generator.failures.add(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    with pytest.raises(UnavailableError):
        await generate(backends, GenerationItem("a", "red", seed=1))
    backends.generator.failures.add_error(OverloadedError(Reason.QUEUE_FULL, "full", retry_after_seconds=3))
    with pytest.raises(OverloadedError) as caught:
        await generate(backends, GenerationItem("a", "red", seed=1))
    assert caught.value.retry_after_seconds == 3
    assert backends.generator.calls == ["Generate"] * 2


async def test_the_scorer_embeds_and_scores(backends: Backends) -> None:
    client = ScorerClient(backends.address)
    red, blue = picture("red"), picture("blue")
    vectors = await client.embed("mean", [red, blue], request_id="r")
    assert [vector.data for vector in vectors] == [mean_color(red), mean_color(blue)]
    assert vectors[0].dimensions == 3
    scores = await client.score(
        target=ScoreSubject(red),
        text="",
        candidates=[ScoreSubject(red), ScoreSubject(None, (vectors[1],))],
        metrics=["mean"],
        request_id="r",
    )
    assert [one.scores[0].raw for one in scores] == [1.0, pytest.approx(1 / 3)]
    metrics = await client.list_metrics()
    assert metrics.offered["mean"].embedding_model == "mean" and metrics.offered["mean-text"].token_limit == 20
    assert metrics.absent == {"heavy": "its weights are not here"}
    assert [model.role for model in await client.list_models()] == ["embedder"]
    await client.close()


async def test_a_short_answer_is_a_defect(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> None:
    client = ScorerClient(backends.address)
    monkeypatch.setattr("services.gateway.backends.converters.embed_request", _without_pictures)
    with pytest.raises(InternalError):
        await client.embed("mean", [picture("red")], request_id="")
    await client.close()


def _without_pictures(model: str, images: object, request_id: str) -> object:
    from likeness.scorer.v1 import scorer_service_pb2

    return scorer_service_pb2.EmbedRequest(model=model, request_id=request_id)


async def test_pairs_are_compared_in_as_many_calls_as_they_need(
    backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ScorerClient(backends.address)
    red, colors = picture("red"), [picture(color) for color in ("red", "blue", "lime", "white", "black")]
    monkeypatch.setattr(batches, "MAX_PICTURES", 2)
    vectors = await client.compare("channels", red, colors, request_id="r")
    assert [len(request.candidates) for request in backends.scorer.compared] == [2, 2, 1]
    assert {request.request_id for request in backends.scorer.compared} == {"r"}
    for vector, color in zip(vectors, colors, strict=True):
        assert vector.data == (difference(red, color) * 256).astype("<f2").tobytes()
    first = vectors[0]
    assert (first.metric, first.backbone_revision, first.preprocessing, first.dimensions) == (
        "channels",
        "b1",
        "pair-1",
        3,
    )
    # The target travels with every call.
    monkeypatch.setattr(batches, "MAX_CALL_BYTES", len(red) + len(colors[1]) + 1)
    await client.compare("channels", red, colors[1:3], request_id="r")
    assert [len(request.candidates) for request in backends.scorer.compared[3:]] == [1, 1]
    monkeypatch.setattr(batches, "MAX_CALL_BYTES", len(red) + len(colors[1]) - 1)
    calls = len(backends.scorer.calls)
    with pytest.raises(InvalidInputError) as caught:
        await client.compare("channels", red, [colors[1]], request_id="r")
    assert (caught.value.field, len(backends.scorer.calls)) == ("candidates[0]", calls)
    await client.close()


async def test_a_comparison_is_tried_again_and_a_refusal_is_passed_on(backends: Backends) -> None:
    client = ScorerClient(backends.address)
    backends.scorer.failures.add(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    assert len(await client.compare("channels", picture("red"), [picture("blue")], request_id="")) == 1
    assert backends.scorer.calls == ["Compare"] * 2
    for call in (client.compare("mean", picture("red"), [picture("blue")], request_id=""), client.get_head("mean")):
        with pytest.raises(NotFoundError) as caught:
            await call
        assert caught.value.reason is Reason.METRIC_NOT_FOUND
    await client.close()


async def test_a_head_is_got_and_one_is_learned(backends: Backends) -> None:
    client = ScorerClient(backends.address)
    published = await client.get_head("channels")
    assert (published, published.revision) == (head_of(BACKBONE, [1, 1, 1]), head_of(BACKBONE, [1, 1, 1]).revision)
    parent = head_of(BACKBONE, [1, 2, 3], recipe=Recipe.MARGIN, parent=published.revision)
    colors = [picture("blue"), picture("lime")]
    vectors = tuple(await client.compare("channels", picture("red"), colors, request_id=""))
    rankings = [RankedDifferences("a", vectors, (2.0, 1.0)), RankedDifferences("b", vectors, (1.0, 1.0))]
    outcome = await client.fit_head(parent, rankings, tastes=[published], request_id="r" * 70)
    assert outcome.head.weights == parent.weights
    assert outcome.report == FitReport(FitDecision.PARENT, "kept the parent", 2, 2)
    sent = backends.scorer.fits[0]
    assert sent.request_id == "r" * 64
    assert (sent.parent.revision, sent.parent.parent_revision) == (parent.revision, published.revision)
    assert [taste.revision for taste in sent.tastes] == [published.revision]
    assert [(one.target, list(one.places)) for one in sent.rankings] == [("a", [2, 1]), ("b", [1, 1])]
    assert [one.data for one in sent.rankings[1].differences] == [vector.data for vector in vectors]
    await client.close()


async def test_the_refiners_four_verbs(backends: Backends) -> None:
    client = RefinerClient(backends.address)
    tree, prompt = await client.understand("repainter", picture("red"), request_id="r")
    assert (tree.base_caption, prompt) == ("a red square", "red")
    assert tree.overall_features[0].aspect is Aspect.COLOR

    prompts = await client.propose(
        "repainter",
        target=picture("red"),
        tree=tree,
        base_prompt="red",
        round_number=2,
        prompt_count=3,
        aspect=Aspect.STYLE,
        history=[PromptAttempt("green", 1, 0.5)],
        seed=2**64 - 1,
        request_id="r",
    )
    assert [one.text for one in prompts] == ["red 0", "red 1", "red 2"], "never more than asked for"
    assert prompts[0].edits == (PromptEdit("color", "red", "blue"),)
    sent = backends.refiner.proposals[0]
    assert (sent.seed, sent.round_number, sent.history[0].prompt) == (2**64 - 1, 2, "green")
    assert sent.tree.base_caption == "a red square"

    feedback, agreement = await client.critique(
        "repainter",
        target=picture("red"),
        best=picture("blue"),
        best_prompt="blue",
        tree=None,
        aspect=Aspect.COLOR,
        round_number=1,
        request_id="r",
    )
    assert (feedback, agreement) == (Feedback("bluer", Aspect.COLOR), 0.25)
    assert await client.revise("repainter", "red", feedback, request_id="r") == ("red, bluer", ())
    assert [strategy.id for strategy in await client.list_strategies()] == ["llm", "repainter"]
    assert [model.role for model in await client.list_models()] == ["language"]
    await client.close()
