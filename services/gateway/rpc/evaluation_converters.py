"""gateway.v1 evaluations <-> the gateway's values."""

from __future__ import annotations

import hashlib

from likeness.gateway.v1 import evaluation_pb2 as pb
from services.gateway.evaluations import model
from services.gateway.evaluations.validation import GenerationInput, SettingsInput
from services.gateway.profiles.model import PictureInput
from services.gateway.rpc import type_converters as types
from services.gateway.rpc.converters import time_to_proto

_STATES = {
    model.EvaluationState.PENDING: pb.Evaluation.STATE_PENDING,
    model.EvaluationState.RUNNING: pb.Evaluation.STATE_RUNNING,
    model.EvaluationState.SUCCEEDED: pb.Evaluation.STATE_SUCCEEDED,
    model.EvaluationState.CANCELLED: pb.Evaluation.STATE_CANCELLED,
    model.EvaluationState.FAILED: pb.Evaluation.STATE_FAILED,
}
_SOURCES = {
    model.EvaluationSource.STREAM: pb.Evaluation.SOURCE_STREAM,
    model.EvaluationSource.MANIFEST: pb.Evaluation.SOURCE_MANIFEST,
}


def evaluation_to_proto(evaluation: model.Evaluation) -> pb.Evaluation:
    """An evaluation."""
    return pb.Evaluation(
        name=f"evaluations/{evaluation.id}",
        display_name=evaluation.display_name,
        settings=_settings_to_proto(evaluation.settings),
        source=_SOURCES[evaluation.source],
        state=_STATES[evaluation.state],
        error=types.item_error_to_proto(evaluation.error) if evaluation.error else None,
        committed_offset=evaluation.committed_offset,
        done_count=evaluation.done_count,
        failed_count=evaluation.failed_count,
        total_count=evaluation.total_count,
        create_time=time_to_proto(evaluation.create_time),
        update_time=time_to_proto(evaluation.update_time),
        wait_reason=types.item_error_to_proto(evaluation.wait_reason) if evaluation.wait_reason else None,
    )


def settings_from_proto(settings: pb.EvaluationSettings) -> SettingsInput:
    """Settings as asked for."""
    asked = settings.generation
    if not settings.HasField("generation"):
        return SettingsInput(tuple(settings.metrics))
    given = model.GenerationSettings(
        model=asked.model,
        seed=asked.seed,
        steps=asked.steps if asked.HasField("steps") else None,
        guidance_scale=asked.guidance_scale if asked.HasField("guidance_scale") else None,
        width_pixels=asked.width_pixels if asked.HasField("width_pixels") else None,
        height_pixels=asked.height_pixels if asked.HasField("height_pixels") else None,
        scheduler=asked.scheduler,
        negative_prompt=asked.negative_prompt,
        keep=asked.keep,
    )
    return SettingsInput(
        tuple(settings.metrics), GenerationInput(given, asked.count if asked.HasField("count") else None)
    )


def item_from_proto(item: pb.EvaluationItem) -> model.EvaluationItem:
    """An item as it came."""
    body = item.SerializeToString(deterministic=True)
    subject: model.Prompts | PictureInput | None = None
    match item.WhichOneof("subject"):
        case "image":
            subject = types.picture_from_proto(item.image)
        case "prompts":
            prompts = item.prompts
            subject = model.Prompts(tuple(prompts.prompts), prompts.seed if prompts.HasField("seed") else None)
    return model.EvaluationItem(
        offset=item.offset,
        item_id=item.item_id,
        digest=hashlib.sha256(body).digest(),
        size_bytes=len(body),
        group=item.group,
        system=item.system,
        target=types.picture_from_proto(item.target) if item.HasField("target") else None,
        text=item.text,
        subject=subject,
    )


def result_to_proto(result: model.ItemResult, *, replayed: bool = False) -> pb.EvaluationResult:
    """What became of an item."""
    return pb.EvaluationResult(
        offset=result.offset,
        item_id=result.item_id,
        group=result.group,
        system=result.system,
        error=_error_to_proto(result.error) if result.error else None,
        images=[_image_to_proto(one) for one in result.images],
        replayed=replayed,
    )


def _settings_to_proto(settings: model.EvaluationSettings) -> pb.EvaluationSettings:
    made = settings.generation
    if made is None:
        return pb.EvaluationSettings(metrics=settings.metrics)
    generation = pb.EvaluationGeneration(
        model=made.model,
        count=made.count,
        seed=made.seed,
        steps=made.steps,
        guidance_scale=made.guidance_scale,
        width_pixels=made.width_pixels,
        height_pixels=made.height_pixels,
        scheduler=made.scheduler,
        negative_prompt=made.negative_prompt,
        keep=made.keep,
    )
    return pb.EvaluationSettings(metrics=settings.metrics, generation=generation)


def _error_to_proto(error: model.EvaluationItemError) -> pb.EvaluationItemError:
    return pb.EvaluationItemError(code=error.code, error=types.item_error_to_proto(error.error))


def _image_to_proto(image: model.EvaluatedImage) -> pb.EvaluatedImage:
    return pb.EvaluatedImage(
        scores=[types.score_to_proto(score) for score in image.scores],
        error=types.item_error_to_proto(image.error) if image.error else None,
        record=types.record_to_proto(image.record) if image.record else None,
        content_hash=image.content_hash,
        text_truncated=image.text_truncated,
    )
