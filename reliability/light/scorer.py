"""A scorer with one metric from embeddings, which the gateway caches, and one from pixels."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.scorer.v1 import scorer_service_pb2_grpc as rpc
from likeness.types.v1 import model_pb2, score_pb2
from reliability.light.pictures import Pixels, color_of, likeness, mean_of, pixels_of
from reliability.light.refusing import refusing
from services.common.errors import InvalidInputError, NotFoundError, Reason

MODEL, REVISION, PREPROCESSING = "mean-color", "r1", "mean-1"
METRICS = {
    "mean": score_pb2.METRIC_INPUT_IMAGE_IMAGE,
    "pixels": score_pb2.METRIC_INPUT_IMAGE_IMAGE,
    "named": score_pb2.METRIC_INPUT_TEXT_IMAGE,
}
"""Input of each metric; `pixels` alone needs the pictures."""


class LightScorer(rpc.ScorerServiceServicer):
    """Compares mean colors ("mean"), pixels ("pixels"), and a mean color with a text ("named"); 0..1, 1 best.

    Args:
        call_seconds: Time that a call takes at least.
    """

    def __init__(self, *, call_seconds: float) -> None:
        self._call_seconds = call_seconds

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:  # noqa: N802
        """Mean colors."""
        await asyncio.sleep(self._call_seconds)
        async with refusing(context):
            if request.model != MODEL:
                raise NotFoundError(Reason.MODEL_NOT_FOUND, "model", request.model, field="model", known=[MODEL])
            embeddings = [
                _embedding(mean_of(pixels_of(image.data, f"images[{index}]")))
                for index, image in enumerate(request.images)
            ]
        return pb.EmbedResponse(embeddings=embeddings)

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:  # noqa: N802
        """Scores in order."""
        await asyncio.sleep(self._call_seconds)
        async with refusing(context):
            for index, metric in enumerate(request.metrics):
                if metric not in METRICS:
                    field = f"metrics[{index}]"
                    raise NotFoundError(Reason.METRIC_NOT_FOUND, "metric", metric, field=field, known=METRICS)
            candidates = [
                pb.CandidateScores(scores=[_score(metric, request, index) for metric in request.metrics])
                for index in range(len(request.candidates))
            ]
        return pb.ScoreResponse(candidates=candidates)

    async def ListMetrics(self, request: pb.ListMetricsRequest, context: Any) -> pb.ListMetricsResponse:  # noqa: N802, ARG002
        """The metrics."""
        best = score_pb2.DIRECTION_HIGHER_IS_BETTER
        shared: dict[str, Any] = {"revision": REVISION, "direction": best, "minimum": 0.0, "maximum": 1.0}
        embeds: dict[str, Any] = {"embedding_model": MODEL, "preprocessing": PREPROCESSING}
        metrics = [
            score_pb2.Metric(
                id=name, input=kind, license="Apache-2.0", **shared, **({} if name == "pixels" else embeds)
            )
            for name, kind in METRICS.items()
        ]
        model = model_pb2.Model(id=MODEL, revision=REVISION, role=model_pb2.MODEL_ROLE_EMBEDDER, license="Apache-2.0")
        return pb.ListMetricsResponse(metrics=metrics, models=[model])


def _score(metric: str, request: pb.ScoreRequest, index: int) -> score_pb2.Score:
    candidate, field = request.candidates[index], f"candidates[{index}]"
    match metric:
        case "pixels":
            value = likeness(_pixels(request.target, "target"), _pixels(candidate, field))
        case "mean":
            value = likeness(_mean(request.target, "target"), _mean(candidate, field))
        case _:
            named = np.array(color_of(request.text), dtype=np.float32) / np.float32(255)
            value = likeness(named, _mean(candidate, field))
    best = score_pb2.DIRECTION_HIGHER_IS_BETTER
    return score_pb2.Score(
        metric=metric, revision=REVISION, raw=value, normalized=value, direction=best, minimum=0.0, maximum=1.0
    )


def _mean(subject: pb.ScoreSubject, field: str) -> Pixels:
    for known in subject.embeddings:
        if (known.model, known.revision, known.preprocessing) == (MODEL, REVISION, PREPROCESSING):
            return np.frombuffer(known.data, dtype="<f4")
    return mean_of(_pixels(subject, field))


def _pixels(subject: pb.ScoreSubject, field: str) -> Pixels:
    if not subject.HasField("image"):
        raise InvalidInputError(f"{field}.image", "is missing", allowed="the picture by bytes")
    return pixels_of(subject.image.data, field)


def _embedding(values: Pixels) -> score_pb2.Embedding:
    return score_pb2.Embedding(
        model=MODEL,
        revision=REVISION,
        preprocessing=PREPROCESSING,
        dimensions=values.size,
        data=values.astype("<f4").tobytes(),
    )
