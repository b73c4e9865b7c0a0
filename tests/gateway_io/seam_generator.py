"""A generator that paints pictures of one color."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from likeness.generator.v1 import generator_service_pb2 as generator_pb
from likeness.generator.v1 import generator_service_pb2_grpc as generator_grpc
from likeness.types.v1 import image_pb2, model_pb2, score_pb2
from services.common.errors import Reason
from tests.gateway_io.seam_failures import Failures
from tests.gateway_io.seam_pictures import picture


class SeamGenerator(generator_grpc.GeneratorServiceServicer):
    """A generator that paints one color a prompt; "stuck" never ends, "broken" fails, "silent" gets no answer."""

    def __init__(self) -> None:
        self.failures = Failures()
        self.calls: list[str] = []
        self.cancelled = asyncio.Event()
        self.requests: list[generator_pb.GenerateRequest] = []

    async def Generate(
        self, request: generator_pb.GenerateRequest, context: Any
    ) -> AsyncIterator[generator_pb.GenerateResponse]:
        self.calls.append("Generate")
        self.requests.append(request)
        await self.failures.maybe(context)
        try:
            for item in request.items:
                async for event in self._paint(item):
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def _paint(self, item: generator_pb.GenerateItem) -> AsyncIterator[generator_pb.GenerateResponse]:
        yield generator_pb.GenerateResponse(item_id=item.item_id, queued=generator_pb.QueuedEvent())
        if item.prompt == "silent":
            return
        steps = item.steps if item.HasField("steps") else 2
        yield generator_pb.GenerateResponse(item_id=item.item_id, started=generator_pb.StartedEvent(total_steps=steps))
        if item.prompt == "stuck":
            await asyncio.Event().wait()
        if item.prompt == "broken":
            error = score_pb2.ItemError(reason=Reason.GENERATION_FAILED.value, message="no luck")
            yield generator_pb.GenerateResponse(item_id=item.item_id, failed=generator_pb.FailedEvent(error=error))
            return
        for step in range(1, steps + 1):
            event = generator_pb.StepEvent(step=step, total_steps=steps)
            yield generator_pb.GenerateResponse(item_id=item.item_id, step=event)
        record = model_pb2.GenerationRecord(prompt=item.prompt, seed=item.seed, steps=steps, model="paint")
        image = image_pb2.Image(data=picture(item.prompt))
        yield generator_pb.GenerateResponse(
            item_id=item.item_id,
            image=generator_pb.ImageEvent(image=image, record=record, prompt_truncated=False),
        )

    async def ListModels(
        self, request: generator_pb.ListModelsRequest, context: Any
    ) -> generator_pb.ListModelsResponse:
        self.calls.append("ListModels")
        await self.failures.maybe(context)
        limits = model_pb2.GenerationLimits(default_steps=2, max_steps=9, schedulers=["ddim"])
        model = model_pb2.Model(id="paint", role=model_pb2.MODEL_ROLE_GENERATOR, generation_limits=limits)
        return generator_pb.ListModelsResponse(models=[model])
