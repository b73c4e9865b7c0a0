"""From the messages of models, metrics, strategies and health to the client's types."""

from __future__ import annotations

from likeness import _types as t
from likeness._reading import enum, enum_name, optional, time
from likeness.gateway.v1 import catalog_service_pb2
from likeness.types.v1 import model_pb2, score_pb2


def _model(item: model_pb2.Model) -> t.Model:
    limits = item.generation_limits if item.HasField("generation_limits") else None
    return t.Model(
        id=item.id,
        revision=item.revision,
        role=enum_name(model_pb2.ModelRole, "MODEL_ROLE_", item.role),
        source=item.source,
        embedded=item.embedded,
        license=item.license,
        generation_limits=limits
        and t.GenerationLimits(
            default_steps=limits.default_steps,
            max_steps=limits.max_steps,
            default_guidance_scale=limits.default_guidance_scale,
            width_pixels=limits.width_pixels,
            height_pixels=limits.height_pixels,
            size_multiple_pixels=limits.size_multiple_pixels,
            max_side_pixels=limits.max_side_pixels,
            schedulers=tuple(limits.schedulers),
            token_limit=limits.token_limit,
            mixes_noise=limits.mixes_noise,
            takes_initial_image=limits.takes_initial_image,
            takes_negative_prompt=limits.takes_negative_prompt,
            takes_guidance_scale=limits.takes_guidance_scale,
        ),
        adapters=tuple(t.Adapter(one.id, one.revision, one.license, one.absent_reason) for one in item.adapters),
        load_state=enum_name(model_pb2.LoadState, "LOAD_STATE_", item.load_state),
        load_problem=item.load_problem,
        size_bytes=item.size_bytes,
    )


def model_list(answer: catalog_service_pb2.ListModelsResponse) -> t.ModelList:
    return t.ModelList(tuple(map(_model, answer.models)), tuple(answer.unreachable))


def metrics(answer: catalog_service_pb2.ListMetricsResponse) -> tuple[t.Metric, ...]:
    return tuple(_metric(item, answer) for item in answer.metrics)


def absent_metrics(answer: catalog_service_pb2.ListMetricsResponse) -> tuple[t.AbsentMetric, ...]:
    return tuple(t.AbsentMetric(item.id, item.reason) for item in answer.absent)


def _metric(item: score_pb2.Metric, answer: catalog_service_pb2.ListMetricsResponse) -> t.Metric:
    return t.Metric(
        id=item.id,
        revision=item.revision,
        description=item.description,
        input=enum_name(score_pb2.MetricInput, "METRIC_INPUT_", item.input),
        higher_is_better=item.direction != score_pb2.DIRECTION_LOWER_IS_BETTER,
        minimum=optional(item, "minimum"),
        maximum=optional(item, "maximum"),
        preprocessing=item.preprocessing,
        embedding_model=item.embedding_model,
        token_limit=optional(item, "token_limit"),
        embedded=item.embedded,
        license=item.license,
        computed_by_default=item.id in answer.default_metrics,
        selects_by_default=item.id in answer.default_selection_metrics,
    )


def strategies(answer: catalog_service_pb2.ListStrategiesResponse) -> tuple[t.Strategy, ...]:
    return tuple(t.Strategy(item.id, item.revision, item.description, item.embedded) for item in answer.strategies)


def status(answer: catalog_service_pb2.GetStatusResponse) -> t.Status:
    components = tuple(
        t.ComponentStatus(item.component, _health(item.health), item.detail) for item in answer.components
    )
    clock = time(answer.server_time) if answer.HasField("server_time") else None
    return t.Status(_health(answer.health), components, answer.version, answer.profile, clock)


def _health(value: int) -> t.Health:
    return enum(t.Health, catalog_service_pb2.Health, "HEALTH_", value) or t.Health.UNKNOWN
