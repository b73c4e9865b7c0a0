"""GenerateImages of ImageService: convert, call, convert back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from google.protobuf import duration_pb2

from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.gateway.v1 import image_service_pb2_grpc
from services.common.errors import InvalidInputError
from services.gateway.access.caller import current_caller
from services.gateway.domain import ItemError
from services.gateway.generation import FinishedImage, GenerationInput, ImageGeneration, ImageUpdate
from services.gateway.ports import GenerationPreview, GenerationProgress, Priority
from services.gateway.rpc import type_converters as types
from services.gateway.rpc.interceptors import request_id_of

_PRIORITIES: dict[int, Priority] = {
    # Whoever calls waits for the pictures, unless it says that nobody does.
    pb.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    pb.PRIORITY_BATCH: Priority.BATCH,
    pb.PRIORITY_NORMAL: Priority.NORMAL,
    pb.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
}


class GenerationServicer(image_service_pb2_grpc.ImageServiceServicer):
    """The part of the public image API that makes pictures."""

    def __init__(self, generation: ImageGeneration) -> None:
        self._generation = generation

    async def GenerateImages(
        self, request: pb.GenerateImagesRequest, context: Any
    ) -> AsyncIterator[pb.GenerateImagesResponse]:
        """Makes pictures from a prompt. Cancelling the call cancels the denoising."""
        updates = self._generation.generate(
            current_caller().tenant_id,
            _input(request),
            call_id=request.request_id or request_id_of(context),
            timeout_seconds=context.time_remaining(),
        )
        async with aclosing(updates):
            async for update in updates:
                yield _response(update)


def _input(request: pb.GenerateImagesRequest) -> GenerationInput:
    return GenerationInput(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        seed=request.seed if request.HasField("seed") else None,
        count=request.count if request.HasField("count") else None,
        steps=request.steps if request.HasField("steps") else None,
        guidance_scale=request.guidance_scale if request.HasField("guidance_scale") else None,
        width_pixels=request.width_pixels if request.HasField("width_pixels") else None,
        height_pixels=request.height_pixels if request.HasField("height_pixels") else None,
        scheduler=request.scheduler,
        model=request.model,
        keep=request.keep,
        initial_image=types.picture_from_proto(request.initial_image) if request.HasField("initial_image") else None,
        strength=request.strength if request.HasField("strength") else None,
        mask=types.picture_from_proto(request.mask) if request.HasField("mask") else None,
        second_strength=request.second_strength if request.HasField("second_strength") else None,
        adapter=request.adapter,
        adapter_scale=request.adapter_scale if request.HasField("adapter_scale") else None,
        preview_interval_steps=request.preview_interval_steps,
        deterministic=request.deterministic,
        priority=_priority(request.priority),
        request_id=request.request_id,
    )


def _priority(value: int) -> Priority:
    try:
        return _PRIORITIES[value]
    except KeyError:
        allowed = ", ".join(("unset", *pb.Priority.keys()[1:]))
        raise InvalidInputError("priority", f"is {value}", allowed=allowed) from None


def _response(update: ImageUpdate) -> pb.GenerateImagesResponse:
    response = pb.GenerateImagesResponse(image_number=update.number, seed=update.seed)
    match update.event:
        case GenerationProgress(total_steps=0, items_ahead=items_ahead):
            response.queued.CopyFrom(pb.GenerationQueued(items_ahead=items_ahead))
        case GenerationProgress(step=0, total_steps=total_steps):
            response.started.CopyFrom(pb.GenerationStarted(total_steps=total_steps))
        case GenerationProgress() as progress:
            response.step.CopyFrom(_step(progress))
        case GenerationPreview(step=step, jpeg=jpeg):
            response.preview.CopyFrom(pb.GenerationPreview(step=step, data=jpeg))
        case FinishedImage() as image:
            response.image.CopyFrom(
                pb.GeneratedImage(
                    data=image.data,
                    info=types.image_info_to_proto(image.info),
                    record=types.record_to_proto(image.record),
                    prompt_truncated=image.prompt_truncated,
                )
            )
        case ItemError() as error:
            response.failed.CopyFrom(pb.GenerationFailed(error=types.item_error_to_proto(error)))
    return response


def _step(progress: GenerationProgress) -> pb.GenerationStep:
    step = pb.GenerationStep(step=progress.step, total_steps=progress.total_steps)
    if progress.seconds_left is not None:
        left = duration_pb2.Duration()
        left.FromMilliseconds(round(progress.seconds_left * 1000))
        step.time_left.CopyFrom(left)
    return step
