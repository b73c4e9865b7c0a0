"""Between the generator's words and likeness.generator.v1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from google.protobuf.duration_pb2 import Duration

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.types.v1 import image_pb2, model_pb2, score_pb2
from services.common.errors import InvalidInputError
from services.generator.domain import ItemRequest, LoadState, ModelStatus, NoisePart, Priority, Urgency
from services.generator.engine.base import Failed, Queued, Started, StepDone
from services.generator.service import GenerationEvent, ImageDone, PreviewDone


def item_requests(request: pb.GenerateRequest) -> list[ItemRequest]:
    """Items of a request; unset fields become None.

    Raises:
        InvalidInputError: an initial image or a mask is a content hash.
    """
    return [
        ItemRequest(
            item_id=item.item_id,
            prompt=item.prompt,
            seed=item.seed,
            negative_prompt=item.negative_prompt,
            steps=item.steps if item.HasField("steps") else None,
            guidance_scale=item.guidance_scale if item.HasField("guidance_scale") else None,
            width_pixels=item.width_pixels if item.HasField("width_pixels") else None,
            height_pixels=item.height_pixels if item.HasField("height_pixels") else None,
            scheduler=item.scheduler,
            noise_mix=tuple(NoisePart(part.seed, part.weight, tuple(part.cells)) for part in item.noise_mix),
            adapter=item.adapter,
            adapter_scale=item.adapter_scale if item.HasField("adapter_scale") else None,
            preview_interval_steps=item.preview_interval_steps,
            deterministic=item.deterministic,
            initial_image=_picture(item, "initial_image", index),
            strength=item.strength if item.HasField("strength") else None,
            mask=_picture(item, "mask", index),
            second_strength=item.second_strength if item.HasField("second_strength") else None,
        )
        for index, item in enumerate(request.items)
    ]


def _picture(item: pb.GenerateItem, name: Literal["initial_image", "mask"], index: int) -> bytes | None:
    if not item.HasField(name):
        return None
    picture: image_pb2.Image = getattr(item, name)
    if picture.WhichOneof("content") == "content_hash":
        field, problem = f"items[{index}].{name}.content_hash", "only the gateway resolves content hashes"
        raise InvalidInputError(field, problem, allowed="the picture's bytes in data")
    return picture.data


def urgency(request: pb.GenerateRequest) -> Urgency:
    """How much of a hurry a request is in.

    Raises:
        InvalidInputError: its priority is none of the contract's.
    """
    number = int(request.priority)
    if number and number not in {*Priority}:
        allowed = ", ".join(("unset", *pb.Priority.keys()[1:]))
        raise InvalidInputError("priority", f"is {number}", allowed=allowed)
    limit = request.time_limit
    seconds = limit.seconds + limit.nanos / 1e9 if request.HasField("time_limit") else None
    return Urgency(Priority(number or Priority.NORMAL), seconds)


def response(event: GenerationEvent) -> pb.GenerateResponse:
    """An event on the wire."""
    answer = pb.GenerateResponse(item_id=event.item_id)
    match event:
        case Queued():
            answer.queued.CopyFrom(pb.QueuedEvent(items_ahead=event.items_ahead))
        case Started():
            answer.started.CopyFrom(pb.StartedEvent(total_steps=event.total_steps, batch_size=event.batch_size))
        case StepDone():
            time_left = Duration()
            time_left.FromMilliseconds(round(event.seconds_left * 1000))
            step = pb.StepEvent(step=event.step, total_steps=event.total_steps, time_left=time_left)
            answer.step.CopyFrom(step)
        case PreviewDone():
            preview = pb.PreviewEvent(step=event.step, image=image_pb2.Image(data=event.jpeg))
            answer.preview.CopyFrom(preview)
        case ImageDone():
            record = model_pb2.GenerationRecord(**asdict(event.record))
            image = image_pb2.Image(data=event.png)
            done = pb.ImageEvent(image=image, record=record, prompt_truncated=event.prompt_truncated)
            answer.image.CopyFrom(done)
        case Failed():
            error = event.error
            item_error = score_pb2.ItemError(reason=error.reason.value, message=error.message, field=error.field)
            answer.failed.CopyFrom(pb.FailedEvent(error=item_error))
    return answer


_STATES = {
    LoadState.LOADED: model_pb2.LOAD_STATE_LOADED,
    LoadState.LOADING: model_pb2.LOAD_STATE_LOADING,
    LoadState.NOT_LOADED: model_pb2.LOAD_STATE_NOT_LOADED,
    LoadState.FAILED: model_pb2.LOAD_STATE_FAILED,
}


def models_response(statuses: Sequence[ModelStatus]) -> pb.ListModelsResponse:
    """Models on the wire."""
    return pb.ListModelsResponse(models=[_model(status) for status in statuses])


def _model(status: ModelStatus) -> model_pb2.Model:
    model = model_pb2.Model(
        id=status.id,
        role=model_pb2.MODEL_ROLE_GENERATOR,
        source=status.source,
        embedded=status.embedded,
        license=status.license,
        load_state=_STATES[status.state],
        load_problem=status.problem,
        size_bytes=status.size_bytes,
    )
    if status.card is not None:
        model.revision = status.card.revision
        model.generation_limits.CopyFrom(model_pb2.GenerationLimits(**asdict(status.card.limits)))
        model.adapters.extend(model_pb2.Adapter(**asdict(adapter)) for adapter in status.card.adapters)
    return model
