"""Backends at the seam: the real contracts on real grpc.aio servers, with answers that a test can foresee.

The scorer embeds a picture as its mean color. `mean` compares two of those, `pixels` needs both pictures, `mean-text`
reads a text and an embedding, `bright` reads the picture alone, `heavy` is absent. `channels` has difference vectors,
the squared differences of mean red, green and blue (0..1), and a published head that weighs them alike.
"""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from PIL import Image, ImageStat

from likeness.generator.v1 import generator_service_pb2 as generator_pb
from likeness.generator.v1 import generator_service_pb2_grpc as generator_grpc
from likeness.refiner.v1 import refiner_service_pb2 as refiner_pb
from likeness.refiner.v1 import refiner_service_pb2_grpc as refiner_grpc
from likeness.scorer.v1 import scorer_service_pb2 as scorer_pb
from likeness.scorer.v1 import scorer_service_pb2_grpc as scorer_grpc
from likeness.types.v1 import head_pb2, image_pb2, model_pb2, score_pb2, understanding_pb2
from services.common.errors import InvalidInputError, LikenessError, NotFoundError, Reason
from services.common.grpc_errors import code_of, to_detail
from services.common.heads import Backbone, Head, head_of
from services.common.settings import MAX_MESSAGE_BYTES

PREPROCESSING = "mean-1"
BACKBONE = Backbone("channels", "b1", (2, 1))
OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
]


def picture(color: str, side: int = 16) -> bytes:
    """PNG of one color."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), color).save(out, "PNG")
    return out.getvalue()


class Failures:
    """What the next calls of a backend answer instead of their result."""

    def __init__(self) -> None:
        self._next: list[tuple[grpc.StatusCode, str]] = []

    def add(self, code: grpc.StatusCode, details: str, times: int = 1) -> None:
        """Queues a raw status, as a proxy would send it."""
        self._next += [(code, details)] * times

    def add_error(self, error: LikenessError, times: int = 1) -> None:
        """Queues an error as a backend sends it."""
        self.add(code_of(error), to_detail(error), times)

    async def maybe(self, context: Any) -> None:
        """Aborts the call if a failure is queued."""
        if self._next:
            await context.abort(*self._next.pop(0))


class Profiles:
    """Heads of profiles, as the profile store answers."""

    def __init__(self, heads: dict[str, Head] | None = None) -> None:
        self.heads = heads or {}

    async def active_head(self, tenant_id: str, profile_id: str, *, field: str) -> Head:
        if profile_id not in self.heads:
            raise NotFoundError(Reason.PROFILE_NOT_FOUND, "profile", profile_id, field=field)
        return self.heads[profile_id]


class SeamScorer(scorer_grpc.ScorerServiceServicer):
    """A scorer of mean colors."""

    def __init__(self) -> None:
        self.revision = "r1"
        self.failures = Failures()
        self.calls: list[str] = []
        self.backbone_revision = BACKBONE.revision
        self.pair_preprocessing = "pair-1"
        self.embedded: list[bytes] = []
        self.compared: list[scorer_pb.CompareRequest] = []
        self.fits: list[scorer_pb.FitHeadRequest] = []
        self.scored: list[scorer_pb.ScoreRequest] = []
        self.metadata: dict[str, str] = {}
        self.time_remaining: float | None = None
        self.gate: asyncio.Event | None = None
        self.embedding_bytes: Callable[[bytes], bytes] = mean_color

    async def Embed(self, request: scorer_pb.EmbedRequest, context: Any) -> scorer_pb.EmbedResponse:
        await self._begin("Embed", context)
        if self.gate is not None:
            await self.gate.wait()
        self.embedded += [image.data for image in request.images]
        return scorer_pb.EmbedResponse(
            embeddings=[self.embedding(self.embedding_bytes(image.data)) for image in request.images]
        )

    async def Score(self, request: scorer_pb.ScoreRequest, context: Any) -> scorer_pb.ScoreResponse:
        await self._begin("Score", context)
        self.scored.append(request)
        try:
            candidates = [
                scorer_pb.CandidateScores(
                    scores=[self._score(metric, request, candidate) for metric in request.metrics],
                    text_truncated=len(request.text) > 100,
                )
                for candidate in request.candidates
            ]
        except LikenessError as error:
            await context.abort(code_of(error), to_detail(error))
        return scorer_pb.ScoreResponse(candidates=candidates)

    async def Compare(self, request: scorer_pb.CompareRequest, context: Any) -> scorer_pb.CompareResponse:
        await self._begin("Compare", context)
        if self.gate is not None:
            await self.gate.wait()
        self.compared.append(request)
        await self._check_compares(request.metric, context)
        return scorer_pb.CompareResponse(
            differences=[
                head_pb2.DifferenceVector(
                    metric=request.metric,
                    backbone_revision=self.backbone_revision,
                    preprocessing=self.pair_preprocessing,
                    dimensions=3,
                    data=(difference(request.target.data, candidate.data) * 256).astype("<f2").tobytes(),
                )
                for candidate in request.candidates
            ]
        )

    async def GetHead(self, request: scorer_pb.GetHeadRequest, context: Any) -> scorer_pb.GetHeadResponse:
        await self._begin("GetHead", context)
        await self._check_compares(request.metric, context)
        return scorer_pb.GetHeadResponse(head=head_to_proto(head_of(BACKBONE, [1, 1, 1])))

    async def FitHead(self, request: scorer_pb.FitHeadRequest, context: Any) -> scorer_pb.FitHeadResponse:
        """Learns nothing: the parent is the best of all."""
        await self._begin("FitHead", context)
        self.fits.append(request)
        report = head_pb2.AlignmentReport(
            decision=head_pb2.FIT_DECISION_PARENT,
            explanation="kept the parent",
            ranking_count=len(request.rankings),
            target_count=len({ranking.target for ranking in request.rankings}),
        )
        return scorer_pb.FitHeadResponse(head=request.parent, report=report)

    async def ListMetrics(self, request: scorer_pb.ListMetricsRequest, context: Any) -> scorer_pb.ListMetricsResponse:
        await self._begin("ListMetrics", context)
        shared = {"direction": score_pb2.DIRECTION_HIGHER_IS_BETTER, "minimum": 0.0, "maximum": 1.0, "license": "MIT"}
        embeds = {"embedding_model": "mean", "preprocessing": PREPROCESSING, "revision": self.revision}
        compares = {"preprocessing": self.pair_preprocessing, "direction": score_pb2.DIRECTION_LOWER_IS_BETTER}
        pair, text = score_pb2.METRIC_INPUT_IMAGE_IMAGE, score_pb2.METRIC_INPUT_TEXT_IMAGE
        return scorer_pb.ListMetricsResponse(
            metrics=[
                score_pb2.Metric(id="mean", input=pair, **shared, **embeds),
                score_pb2.Metric(id="pixels", input=pair, revision="p1", **shared),
                score_pb2.Metric(id="mean-text", input=text, token_limit=20, **shared, **embeds),
                score_pb2.Metric(id="bright", input=score_pb2.METRIC_INPUT_IMAGE, revision="br1", **shared),
                score_pb2.Metric(id="channels", input=pair, revision="c1", **{**shared, **compares}),
            ],
            models=[
                model_pb2.Model(id="mean", revision=self.revision, role=model_pb2.MODEL_ROLE_EMBEDDER, license="MIT")
            ],
            absent=[score_pb2.AbsentMetric(id="heavy", reason="its weights are not here")],
        )

    async def _check_compares(self, metric: str, context: Any) -> None:
        if metric != BACKBONE.metric:
            error = NotFoundError(Reason.METRIC_NOT_FOUND, "metric", metric, known=[BACKBONE.metric])
            await context.abort(code_of(error), to_detail(error))

    async def _begin(self, name: str, context: Any) -> None:
        self.calls.append(name)
        self.metadata = dict(context.invocation_metadata())
        self.time_remaining = context.time_remaining()
        await self.failures.maybe(context)

    def embedding(self, values: bytes) -> score_pb2.Embedding:
        """An embedding of these values at the present revision."""
        return score_pb2.Embedding(
            model="mean",
            revision=self.revision,
            preprocessing=PREPROCESSING,
            dimensions=len(values) // 4,
            data=values,
        )

    def _score(
        self, metric: str, request: scorer_pb.ScoreRequest, candidate: scorer_pb.ScoreSubject
    ) -> score_pb2.Score:
        match metric:
            case "mean":
                value = closeness(self._mean(request.target), self._mean(candidate))
            case "pixels":
                value = float(_data(request.target) == _data(candidate))
            case "mean-text":
                value = closeness(mean_color(picture(request.text)), self._mean(candidate))
            case "bright":
                value = sum(struct.unpack("<3f", mean_color(_data(candidate)))) / (3 * 255)
            case "channels":
                value = float(difference(_data(request.target), _data(candidate)).sum())
            case _:
                raise NotFoundError(Reason.METRIC_NOT_FOUND, "metric", metric)
        revision = {"pixels": "p1", "bright": "br1", "channels": "c1"}.get(metric, self.revision)
        direction = score_pb2.DIRECTION_HIGHER_IS_BETTER
        return score_pb2.Score(metric=metric, revision=revision, raw=value, normalized=value, direction=direction)

    def _mean(self, subject: scorer_pb.ScoreSubject) -> bytes:
        for known in subject.embeddings:
            if (known.model, known.revision, known.preprocessing) == ("mean", self.revision, PREPROCESSING):
                return known.data
        return mean_color(_data(subject))


class SeamGenerator(generator_grpc.GeneratorServiceServicer):
    """A generator that paints one color a prompt; "stuck" never ends, "broken" fails, "silent" gets no answer."""

    def __init__(self) -> None:
        self.failures = Failures()
        self.calls: list[str] = []
        self.cancelled = asyncio.Event()
        self.requests: list[generator_pb.GenerateRequest] = []

    async def Generate(
        self, request: generator_pb.GenerateRequest, context: Any
    ) -> AsyncIterator[generator_pb.GenerateResponse]:
        self.calls.append("Generate")
        self.requests.append(request)
        await self.failures.maybe(context)
        try:
            for item in request.items:
                async for event in self._paint(item):
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def _paint(self, item: generator_pb.GenerateItem) -> AsyncIterator[generator_pb.GenerateResponse]:
        yield generator_pb.GenerateResponse(item_id=item.item_id, queued=generator_pb.QueuedEvent())
        if item.prompt == "silent":
            return
        steps = item.steps if item.HasField("steps") else 2
        yield generator_pb.GenerateResponse(item_id=item.item_id, started=generator_pb.StartedEvent(total_steps=steps))
        if item.prompt == "stuck":
            await asyncio.Event().wait()
        if item.prompt == "broken":
            error = score_pb2.ItemError(reason=Reason.GENERATION_FAILED.value, message="no luck")
            yield generator_pb.GenerateResponse(item_id=item.item_id, failed=generator_pb.FailedEvent(error=error))
            return
        for step in range(1, steps + 1):
            event = generator_pb.StepEvent(step=step, total_steps=steps)
            yield generator_pb.GenerateResponse(item_id=item.item_id, step=event)
        record = model_pb2.GenerationRecord(prompt=item.prompt, seed=item.seed, steps=steps, model="paint")
        image = image_pb2.Image(data=picture(item.prompt))
        yield generator_pb.GenerateResponse(
            item_id=item.item_id,
            image=generator_pb.ImageEvent(image=image, record=record, prompt_truncated=False),
        )

    async def ListModels(
        self, request: generator_pb.ListModelsRequest, context: Any
    ) -> generator_pb.ListModelsResponse:
        self.calls.append("ListModels")
        await self.failures.maybe(context)
        limits = model_pb2.GenerationLimits(default_steps=2, max_steps=9, schedulers=["ddim"])
        model = model_pb2.Model(id="paint", role=model_pb2.MODEL_ROLE_GENERATOR, generation_limits=limits)
        return generator_pb.ListModelsResponse(models=[model])


class SeamRefiner(refiner_grpc.RefinerServiceServicer):
    """A refiner that echoes."""

    def __init__(self) -> None:
        self.failures = Failures()
        self.proposals: list[refiner_pb.ProposeRequest] = []

    async def Understand(self, request: refiner_pb.UnderstandRequest, context: Any) -> refiner_pb.UnderstandResponse:
        await self.failures.maybe(context)
        color = understanding_pb2.Feature(name="color", value="red", aspect=understanding_pb2.ASPECT_COLOR)
        tree = understanding_pb2.UnderstandingTree(base_caption="a red square", overall_features=[color])
        return refiner_pb.UnderstandResponse(tree=tree, prompt="red")

    async def Propose(self, request: refiner_pb.ProposeRequest, context: Any) -> refiner_pb.ProposeResponse:
        await self.failures.maybe(context)
        self.proposals.append(request)
        edit = understanding_pb2.PromptEdit(property="color", before="red", after="blue")
        prompts = [
            refiner_pb.ProposedPrompt(text=f"{request.base_prompt} {i}", origin="synonym", edits=[edit])
            for i in range(request.prompt_count + 1)
        ]
        return refiner_pb.ProposeResponse(prompts=prompts)

    async def Critique(self, request: refiner_pb.CritiqueRequest, context: Any) -> refiner_pb.CritiqueResponse:
        await self.failures.maybe(context)
        feedback = understanding_pb2.Feedback(text="bluer", aspect=request.aspect)
        return refiner_pb.CritiqueResponse(feedback=feedback, agreement=0.25)

    async def Revise(self, request: refiner_pb.ReviseRequest, context: Any) -> refiner_pb.ReviseResponse:
        await self.failures.maybe(context)
        return refiner_pb.ReviseResponse(prompt=f"{request.prompt}, {request.feedback.text}")

    async def ListStrategies(
        self, request: refiner_pb.ListStrategiesRequest, context: Any
    ) -> refiner_pb.ListStrategiesResponse:
        await self.failures.maybe(context)
        strategies = [refiner_pb.Strategy(id="llm"), refiner_pb.Strategy(id="repainter", embedded=True)]
        models = [model_pb2.Model(id="captioner", role=model_pb2.MODEL_ROLE_LANGUAGE)]
        return refiner_pb.ListStrategiesResponse(strategies=strategies, models=models)


class Backends:
    """All three on one server, as behind Serve's proxy. It can be stopped and started again on its port."""

    def __init__(self) -> None:
        self.scorer = SeamScorer()
        self.generator = SeamGenerator()
        self.refiner = SeamRefiner()
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listens, on the same port as before if there was one."""
        server = grpc.aio.server(options=OPTIONS)
        scorer_grpc.add_ScorerServiceServicer_to_server(self.scorer, server)
        generator_grpc.add_GeneratorServiceServicer_to_server(self.generator, server)
        refiner_grpc.add_RefinerServiceServicer_to_server(self.refiner, server)
        self.port = server.add_insecure_port(self.address)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Breaks every call and stops listening."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


@asynccontextmanager
async def running_backends() -> AsyncIterator[Backends]:
    """Backends for the length of a block."""
    backends = Backends()
    await backends.start()
    try:
        yield backends
    finally:
        await backends.stop()


def mean_color(data: bytes) -> bytes:
    """Mean red, green and blue of a picture as float32 bytes."""
    return struct.pack("<3f", *ImageStat.Stat(Image.open(io.BytesIO(data)).convert("RGB")).mean)


def closeness(a: bytes, b: bytes) -> float:
    """1 for equal means, 0 for black against white."""
    pairs: Iterator[tuple[float, float]] = zip(struct.unpack("<3f", a), struct.unpack("<3f", b), strict=True)
    return 1 - sum(abs(x - y) for x, y in pairs) / (3 * 255)


def difference(a: bytes, b: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Squared differences [3] of mean red, green and blue, 0..1."""
    first, second = (np.frombuffer(mean_color(data), dtype="<f4") / 255 for data in (a, b))
    return (first - second) ** 2


def head_to_proto(head: Head) -> head_pb2.Head:
    """A head as the scorer sends it."""
    return head_pb2.Head(
        metric=head.backbone.metric,
        backbone_revision=head.backbone.revision,
        layer_channels=head.backbone.layers,
        weights=head.weights,
        recipe=head_pb2.HEAD_RECIPE_PUBLISHED,
        revision=head.revision,
    )


def _data(subject: scorer_pb.ScoreSubject) -> bytes:
    if not subject.HasField("image"):
        raise InvalidInputError("candidates[0].image", "metric needs it")
    return subject.image.data
