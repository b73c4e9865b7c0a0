"""Protobuf messages to the scorer's values and back. This file and `head_converters` alone know contracts' fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.types.v1 import image_pb2, model_pb2, score_pb2
from services.common.errors import InvalidInputError
from services.scorer.domain import CandidateScores, ItemFailure, KnownEmbedding, Score, ScoreQuery, Subject
from services.scorer.metrics.base import EmbedderSpec, MetricInput, MetricSpec

_INPUTS = {
    MetricInput.IMAGE_IMAGE: score_pb2.METRIC_INPUT_IMAGE_IMAGE,
    MetricInput.TEXT_IMAGE: score_pb2.METRIC_INPUT_TEXT_IMAGE,
    MetricInput.IMAGE: score_pb2.METRIC_INPUT_IMAGE,
}


def picture_from(image: image_pb2.Image, field: str) -> Subject:
    """A picture that must be there; InvalidInputError, blamed on `field`, if it carries no bytes."""
    data = _bytes_of(image, field)
    if data is None:
        raise InvalidInputError(field, "is empty", allowed="the picture's bytes")
    return Subject(field, data)


def pictures_from(images: Iterable[image_pb2.Image], field: str) -> list[Subject]:
    """Pictures of a repeated field; InvalidInputError names one that carries no bytes."""
    return [picture_from(image, f"{field}[{index}]") for index, image in enumerate(images)]


def query_from(request: pb.ScoreRequest) -> ScoreQuery:
    """What a Score request asks; InvalidInputError names a picture sent by content hash."""
    return ScoreQuery(
        target=_subject(request.target, "target") if request.HasField("target") else None,
        text=request.text,
        candidates=tuple(_subject(subject, f"candidates[{i}]") for i, subject in enumerate(request.candidates)),
        metrics=tuple(request.metrics),
    )


def embed_response(embeddings: Sequence[KnownEmbedding]) -> pb.EmbedResponse:
    """Answer of Embed."""
    messages = (
        score_pb2.Embedding(
            model=embedding.model,
            revision=embedding.revision,
            preprocessing=embedding.preprocessing,
            dimensions=embedding.dimensions,
            data=embedding.data,
        )
        for embedding in embeddings
    )
    return pb.EmbedResponse(embeddings=messages)


def score_response(candidates: Sequence[CandidateScores]) -> pb.ScoreResponse:
    """Answer of Score."""
    messages = (
        pb.CandidateScores(
            scores=[_score(score) for score in candidate.scores],
            text_truncated=any(score.text_truncated for score in candidate.scores),
        )
        for candidate in candidates
    )
    return pb.ScoreResponse(candidates=messages)


def list_response(
    metrics: Sequence[MetricSpec], models: Sequence[EmbedderSpec], absent: Mapping[str, str]
) -> pb.ListMetricsResponse:
    """Answer of ListMetrics; `absent` holds reasons by id."""
    return pb.ListMetricsResponse(
        metrics=[_metric(spec) for spec in metrics],
        models=[_model(spec) for spec in models],
        absent=[score_pb2.AbsentMetric(id=id_, reason=reason) for id_, reason in absent.items()],
    )


def _subject(message: pb.ScoreSubject, field: str) -> Subject:
    embeddings = tuple(
        KnownEmbedding(known.model, known.revision, known.preprocessing, known.dimensions, known.data)
        for known in message.embeddings
    )
    return Subject(field, _bytes_of(message.image, f"{field}.image"), embeddings)


def _bytes_of(image: image_pb2.Image, field: str) -> bytes | None:
    kind = image.WhichOneof("content")
    if kind == "content_hash":
        problem = "only the gateway resolves content hashes"
        raise InvalidInputError(f"{field}.content_hash", problem, allowed="the picture's bytes in data")
    return image.data if kind == "data" else None


def _score(score: Score) -> score_pb2.Score:
    spec = score.metric
    message = score_pb2.Score(
        metric=spec.id,
        revision=spec.revision,
        direction=_direction(spec),
        minimum=spec.minimum,
        maximum=spec.maximum,
        text_truncated=score.text_truncated,
    )
    if isinstance(score.outcome, ItemFailure):
        message.error.reason = score.outcome.reason
        message.error.message = score.outcome.message
    else:
        message.raw = score.outcome.raw
        message.normalized = score.outcome.normalized
        message.cells.extend(score.outcome.cells)
    return message


def _metric(spec: MetricSpec) -> score_pb2.Metric:
    return score_pb2.Metric(
        id=spec.id,
        revision=spec.revision,
        description=spec.description,
        input=_INPUTS[spec.input],
        direction=_direction(spec),
        minimum=spec.minimum,
        maximum=spec.maximum,
        preprocessing=spec.preprocessing,
        embedding_model=spec.embedding_model,
        token_limit=spec.token_limit,
        embedded=spec.embedded,
        license=spec.license,
    )


def _model(spec: EmbedderSpec) -> model_pb2.Model:
    return model_pb2.Model(
        id=spec.id,
        revision=spec.revision,
        role=model_pb2.MODEL_ROLE_EMBEDDER,
        source=spec.source,
        embedded=spec.embedded,
        license=spec.license,
    )


def _direction(spec: MetricSpec) -> score_pb2.Direction.ValueType:
    if spec.higher_is_better:
        return score_pb2.DIRECTION_HIGHER_IS_BETTER
    return score_pb2.DIRECTION_LOWER_IS_BETTER
