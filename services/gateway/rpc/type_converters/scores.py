"""Scores and the metrics that they are of."""

from __future__ import annotations

from likeness.types.v1 import score_pb2
from services.gateway import domain, ports

_INPUT_TO_PROTO = {
    "image-image": score_pb2.METRIC_INPUT_IMAGE_IMAGE,
    "text-image": score_pb2.METRIC_INPUT_TEXT_IMAGE,
    "image": score_pb2.METRIC_INPUT_IMAGE,
}
_INPUT_FROM_PROTO = {value: name for name, value in _INPUT_TO_PROTO.items()}


def item_error_to_proto(error: domain.ItemError) -> score_pb2.ItemError:
    """Item error."""
    return score_pb2.ItemError(reason=error.reason, message=error.message, field=error.field)


def item_error_from_proto(error: score_pb2.ItemError) -> domain.ItemError:
    """Item error."""
    return domain.ItemError(error.reason, error.message, error.field)


def score_to_proto(score: domain.Score) -> score_pb2.Score:
    """One metric's value for one candidate."""
    return score_pb2.Score(
        metric=score.metric,
        revision=score.revision,
        raw=score.raw,
        normalized=score.normalized,
        direction=_direction_to_proto(score.higher_is_better),
        minimum=score.minimum,
        maximum=score.maximum,
        error=item_error_to_proto(score.error) if score.error else None,
        cells=score.cells,
        text_truncated=score.text_truncated,
    )


def score_from_proto(score: score_pb2.Score) -> domain.Score:
    """One metric's value for one candidate."""
    return domain.Score(
        metric=score.metric,
        revision=score.revision,
        raw=score.raw,
        normalized=score.normalized,
        higher_is_better=score.direction == score_pb2.DIRECTION_HIGHER_IS_BETTER,
        minimum=score.minimum if score.HasField("minimum") else None,
        maximum=score.maximum if score.HasField("maximum") else None,
        error=item_error_from_proto(score.error) if score.HasField("error") else None,
        cells=tuple(score.cells),
        text_truncated=score.text_truncated,
    )


def metric_to_proto(metric: ports.MetricInfo) -> score_pb2.Metric:
    """A metric of the deployment."""
    return score_pb2.Metric(
        id=metric.id,
        revision=metric.revision,
        description=metric.description,
        input=_INPUT_TO_PROTO[metric.input],
        direction=_direction_to_proto(metric.higher_is_better),
        minimum=metric.minimum,
        maximum=metric.maximum,
        preprocessing=metric.preprocessing,
        embedding_model=metric.embedding_model,
        token_limit=metric.token_limit,
        embedded=metric.embedded,
        license=metric.license,
    )


def metric_from_proto(metric: score_pb2.Metric) -> ports.MetricInfo:
    """A metric of the deployment."""
    return ports.MetricInfo(
        id=metric.id,
        revision=metric.revision,
        description=metric.description,
        input=_INPUT_FROM_PROTO.get(metric.input, "image-image"),
        higher_is_better=metric.direction == score_pb2.DIRECTION_HIGHER_IS_BETTER,
        minimum=metric.minimum if metric.HasField("minimum") else None,
        maximum=metric.maximum if metric.HasField("maximum") else None,
        preprocessing=metric.preprocessing,
        embedding_model=metric.embedding_model,
        token_limit=metric.token_limit if metric.HasField("token_limit") else None,
        embedded=metric.embedded,
        license=metric.license,
    )


def _direction_to_proto(higher_is_better: bool) -> score_pb2.Direction.ValueType:
    return score_pb2.DIRECTION_HIGHER_IS_BETTER if higher_is_better else score_pb2.DIRECTION_LOWER_IS_BETTER
