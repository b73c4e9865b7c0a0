"""Pictures from a prompt, as the gateway answers: drawn, with their records; the refusals are in its words."""

from __future__ import annotations

import asyncio
import json

import grpc

from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.gateway.v1 import image_service_pb2_grpc
from likeness.types.v1 import image_pb2, score_pb2
from tests.likeness.gateway import story
from tests.likeness.gateway.faults import Fault, fail
from tests.likeness.gateway.world import World

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DRAWN_SEED = 1234


class GenerationServicer(image_service_pb2_grpc.ImageServiceServicer):
    """One picture after the other. The second picture of "half broken" fails; a gate that is not set holds them all.

    "never done" closes the gate after its first preview.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.requests: list[pb.GenerateImagesRequest] = []
        self.cancelled = 0

    async def GenerateImages(self, request, context):
        fault = self._world.faults.next("GenerateImages", context)
        self.requests.append(request)
        await self._check(request, context)
        sent = 0
        try:
            for number in range(1, (request.count or 1) + 1):
                for event in self._picture(request, number):
                    if fault and sent == fault.after_events:
                        await fail(context, fault)
                    yield event
                    sent += 1
                    if request.prompt == "never done" and event.HasField("preview"):
                        self._world.gate.clear()
                    await self._world.gate.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    def _picture(self, request, number: int):
        seed = (request.seed if request.HasField("seed") else DRAWN_SEED) + number - 1
        steps = request.steps or story.STEPS

        def event(**body) -> pb.GenerateImagesResponse:
            return pb.GenerateImagesResponse(image_number=number, seed=seed, **body)

        yield event(queued=pb.GenerationQueued(items_ahead=number - 1))
        yield event(started=pb.GenerationStarted(total_steps=steps))
        for step in range(1, steps + 1):
            left = {"seconds": steps - step}
            yield event(step=pb.GenerationStep(step=step, total_steps=steps, time_left=left))
            if request.preview_interval_steps and step < steps and step % request.preview_interval_steps == 0:
                yield event(preview=pb.GenerationPreview(step=step, data=story.preview(step)))
        if request.prompt == "half broken" and number == 2:
            error = score_pb2.ItemError(reason="GENERATION_FAILED", message="no memory left")
            yield event(failed=pb.GenerationFailed(error=error))
            return
        record = story.record(request.prompt, seed)
        record.steps, record.scheduler = steps, request.scheduler or record.scheduler
        record.strength, record.second_strength = request.strength, request.second_strength
        record.adapter, record.adapter_scale = request.adapter, request.adapter_scale
        record.deterministic = request.deterministic
        if request.HasField("initial_image"):
            record.initial_image_content_hash = self._address(request.initial_image)
        if request.HasField("mask"):
            record.mask_content_hash = self._address(request.mask)
        text = {"likeness": json.dumps({"prompt": request.prompt, "seed": seed})}
        data = story.png(story.target_picture(), text)
        info = self._world.store(data) if request.keep else story.image_info(data)
        truncated = len(request.prompt) > 100
        yield event(image=pb.GeneratedImage(data=data, info=info, record=record, prompt_truncated=truncated))

    def _address(self, picture: image_pb2.Image) -> str:
        return picture.content_hash or story.image_info(picture.data).content_hash

    async def _check(self, request, context) -> None:
        if request.HasField("count") and not 1 <= request.count <= 16:
            await _refuse(context, "count", f"is {request.count}", "1 to 16")
        if not request.prompt.strip():
            await _refuse(context, "prompt", "is empty", "1 to 2,000 characters")
        if request.HasField("initial_image") and not request.HasField("strength"):
            await _refuse(context, "strength", "is unset", "above 0, up to 1, with an initial image")
        for field in ("initial_image", "mask"):
            address = getattr(request, field).content_hash
            if address and address not in self._world.images:
                problem = f"image {address!r} does not exist"
                await fail(
                    context, Fault(grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND", problem, f"{field}.content_hash")
                )
        if request.adapter not in ("", "ink"):
            await _refuse(context, "adapter", f"is {request.adapter!r}", "empty, ink")
        if request.model not in ("", "generator-embedded"):
            problem = f"generator model {request.model!r} does not exist; known: generator-embedded"
            await fail(context, Fault(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", problem))


async def _refuse(context, field: str, problem: str, allowed: str) -> None:
    await fail(context, Fault(INVALID, "INVALID_FIELD", f"{field}: {problem}; allowed: {allowed}", field))
