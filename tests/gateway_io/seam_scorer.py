"""A scorer that embeds a picture as its mean color.

`mean` compares two of those, `pixels` needs both pictures, `mean-text` reads a text and an embedding, `bright` reads
the picture alone, `heavy` is absent. `channels` has difference vectors, the squared differences of mean red, green and
blue (0..1), and a published head that weighs them alike; profiles have others.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from likeness.scorer.v1 import scorer_service_pb2 as scorer_pb
from likeness.scorer.v1 import scorer_service_pb2_grpc as scorer_grpc
from likeness.types.v1 import head_pb2, model_pb2, score_pb2
from services.common.errors import InvalidInputError, LikenessError, NotFoundError, Reason
from services.common.grpc_errors import code_of, to_detail
from services.common.head_messages import head_to_proto
from services.common.heads import Backbone, Head, head_of
from tests.gateway_io.seam_failures import Failures
from tests.gateway_io.seam_pictures import closeness, difference, mean_color, picture

PREPROCESSING = "mean-1"
BACKBONE = Backbone("channels", "b1", (2, 1))


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


def _data(subject: scorer_pb.ScoreSubject) -> bytes:
    if not subject.HasField("image"):
        raise InvalidInputError("candidates[0].image", "metric needs it")
    return subject.image.data
