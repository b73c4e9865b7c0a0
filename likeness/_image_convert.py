"""From the messages of pictures and their scores to the client's types."""

from __future__ import annotations

from likeness import _types as t
from likeness._reading import HasPresence, optional
from likeness.gateway.v1 import image_service_pb2
from likeness.types.v1 import image_pb2, model_pb2, score_pb2


def item_error(parent: HasPresence, field: str = "error") -> t.ItemError | None:
    error: score_pb2.ItemError | None = optional(parent, field)
    return None if error is None else t.ItemError(error.reason, error.message, error.field)


def image_info(info: image_pb2.ImageInfo) -> t.ImageInfo:
    return t.ImageInfo(
        info.content_hash, info.pixel_hash, info.media_type, info.width_pixels, info.height_pixels, info.size_bytes
    )


def score(item: score_pb2.Score) -> t.Score:
    return t.Score(
        metric=item.metric,
        revision=item.revision,
        raw=item.raw,
        normalized=item.normalized,
        higher_is_better=item.direction != score_pb2.DIRECTION_LOWER_IS_BETTER,
        minimum=optional(item, "minimum"),
        maximum=optional(item, "maximum"),
        error=item_error(item),
        cells=tuple(item.cells),
        text_truncated=item.text_truncated,
    )


def image_scores(answer: image_service_pb2.ScoreImagesResponse) -> tuple[t.ImageScores, ...]:
    return tuple(
        t.ImageScores(tuple(map(score, item.scores)), item_error(item), item.text_truncated)
        for item in answer.candidates
    )


def record(item: model_pb2.GenerationRecord) -> t.GenerationRecord:
    return t.GenerationRecord(
        prompt=item.prompt,
        negative_prompt=item.negative_prompt,
        seed=item.seed,
        steps=item.steps,
        guidance_scale=item.guidance_scale,
        scheduler=item.scheduler,
        width_pixels=item.width_pixels,
        height_pixels=item.height_pixels,
        model=item.model,
        model_revision=item.model_revision,
        noise_mix=tuple(t.NoisePart(part.seed, part.weight, tuple(part.cells)) for part in item.noise_mix),
        deterministic=item.deterministic,
        strength=item.strength,
        initial_image_content_hash=item.initial_image_content_hash,
        mask_content_hash=item.mask_content_hash,
        second_strength=item.second_strength,
        adapter=item.adapter,
        adapter_scale=item.adapter_scale,
        adapter_revision=item.adapter_revision,
    )


def generation_event(answer: image_service_pb2.GenerateImagesResponse) -> t.GenerationEvent | None:
    """The event; None for a kind that only a newer client knows."""
    number, seed = answer.image_number, answer.seed
    match answer.WhichOneof("event"):
        case "queued":
            return t.GenerationProgress(number, seed, 0, 0, items_ahead=answer.queued.items_ahead)
        case "started":
            return t.GenerationProgress(number, seed, 0, answer.started.total_steps)
        case "step":
            step = answer.step
            left = step.time_left.ToMilliseconds() / 1000 if step.HasField("time_left") else None
            return t.GenerationProgress(number, seed, step.step, step.total_steps, seconds_left=left)
        case "preview":
            return t.GenerationPreview(number, seed, answer.preview.step, answer.preview.data)
        case "image":
            made = answer.image
            facts = image_info(made.info), record(made.record), made.prompt_truncated
            return t.GeneratedImage(number, seed, made.data, *facts)
        case "failed":
            return t.GeneratedImage(number, seed, error=item_error(answer.failed))
    return None
