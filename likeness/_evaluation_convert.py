"""From the messages of evaluations to the client's types."""

from __future__ import annotations

from likeness import _image_convert
from likeness import _types as t
from likeness._reading import enum, optional, time
from likeness.gateway.v1 import evaluation_pb2, evaluation_service_pb2
from likeness.types.v1 import score_pb2


def evaluation(item: evaluation_pb2.Evaluation) -> t.Evaluation:
    return t.Evaluation(
        name=item.name,
        display_name=item.display_name,
        settings=_settings(item.settings),
        state=enum(t.EvaluationState, evaluation_pb2.Evaluation.State, "STATE_", item.state)
        or t.EvaluationState.UNKNOWN,
        create_time=time(item.create_time),
        update_time=time(item.update_time),
        done_count=item.done_count,
        failed_count=item.failed_count,
        total_count=optional(item, "total_count"),
        committed_offset=item.committed_offset,
        error=_image_convert.item_error(item),
        wait_reason=_image_convert.item_error(item, "wait_reason"),
    )


def evaluation_page(
    answer: evaluation_service_pb2.ListEvaluationsResponse,
) -> tuple[tuple[t.Evaluation, ...], str]:
    """Evaluations of a page and the token of the next one."""
    return tuple(map(evaluation, answer.evaluations)), answer.next_page_token


def update(answer: evaluation_service_pb2.WatchEvaluationResponse) -> t.Evaluation | t.EvaluationResult:
    """What happened to an evaluation."""
    return result(answer.result) if answer.HasField("result") else evaluation(answer.evaluation)


def result(item: evaluation_pb2.EvaluationResult) -> t.EvaluationResult:
    return t.EvaluationResult(
        offset=item.offset,
        item_id=item.item_id,
        group=item.group,
        system=item.system,
        images=tuple(map(_image, item.images)),
        code=item.error.code,
        error=_image_convert.item_error(item.error) if item.HasField("error") else None,
        replayed=item.replayed,
    )


def report(answer: evaluation_service_pb2.GetEvaluationReportResponse) -> t.EvaluationReport:
    item = answer.report
    return t.EvaluationReport(
        evaluation(item.evaluation), tuple(map(_mean, item.means)), tuple(map(_comparison, item.comparisons))
    )


def _settings(item: evaluation_pb2.EvaluationSettings) -> t.EvaluationSettings:
    made = item.generation
    if not item.HasField("generation"):
        return t.EvaluationSettings(tuple(item.metrics))
    return t.EvaluationSettings(
        metrics=tuple(item.metrics),
        makes_pictures=True,
        model=made.model,
        images=made.count,
        seed=made.seed,
        steps=optional(made, "steps"),
        guidance_scale=optional(made, "guidance_scale"),
        width_pixels=optional(made, "width_pixels"),
        height_pixels=optional(made, "height_pixels"),
        scheduler=made.scheduler,
        negative_prompt=made.negative_prompt,
        keep=made.keep,
    )


def _image(item: evaluation_pb2.EvaluatedImage) -> t.EvaluatedImage:
    return t.EvaluatedImage(
        scores=tuple(map(_image_convert.score, item.scores)),
        error=_image_convert.item_error(item),
        record=_image_convert.record(item.record) if item.HasField("record") else None,
        content_hash=item.content_hash,
        text_truncated=item.text_truncated,
    )


def _mean(item: evaluation_pb2.EvaluationMean) -> t.EvaluationMean:
    return t.EvaluationMean(
        group=item.group,
        system=item.system,
        metric=item.metric,
        count=item.count,
        failed_count=item.failed_count,
        mean=optional(item, "mean"),
        low=optional(item, "lower"),
        high=optional(item, "upper"),
        higher_is_better=item.direction != score_pb2.DIRECTION_LOWER_IS_BETTER,
    )


def _comparison(item: evaluation_pb2.EvaluationComparison) -> t.EvaluationComparison:
    return t.EvaluationComparison(
        group=item.group,
        metric=item.metric,
        baseline=item.baseline,
        system=item.system,
        pair_count=item.pair_count,
        difference=item.mean_difference,
        low=optional(item, "lower"),
        high=optional(item, "upper"),
        p=optional(item, "p_value"),
        wins=item.win_count,
        ties=item.tie_count,
        losses=item.loss_count,
    )
