"""A generator whose steps take a known time: slots, a bounded queue, progress and cancelling, as the real one has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from likeness.types.v1 import image_pb2, model_pb2, score_pb2
from reliability.light.pictures import SIDE_PIXELS, paint
from reliability.light.refusing import refusing
from services.common.errors import InvalidInputError, NotFoundError, OverloadedError, Reason

MODEL = "paint"
DEFAULT_STEPS, MAX_STEPS = 4, 50
MAX_SIDE_PIXELS, SIZE_MULTIPLE_PIXELS = 128, 8
MAX_ITEMS = 64


class LightGenerator(rpc.GeneratorServiceServicer):
    """Paints as many pictures at once as it has slots.

    Args:
        step_seconds: Time of one denoising step, whatever shares it.
        slots: Pictures that are denoised at once.
        max_waiting: Pictures that may wait; a call that would bring more is refused with the time to try again.
    """

    def __init__(self, *, step_seconds: float, slots: int, max_waiting: int) -> None:
        self._step_seconds = step_seconds
        self._slots = asyncio.Semaphore(slots)
        self._slot_count = slots
        self._max_waiting = max_waiting
        self._open = 0

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> AsyncIterator[pb.GenerateResponse]:  # noqa: N802
        """Streams what happens to each picture."""
        async with refusing(context):
            limit = request.time_limit.ToMilliseconds() / 1000 if request.HasField("time_limit") else None
            self._admit(request, limit)
        events: asyncio.Queue[pb.GenerateResponse] = asyncio.Queue()
        self._open += len(request.items)
        # In a row: the items of a call begin in their order.
        tasks = [asyncio.create_task(self._make(item, limit, events)) for item in request.items]
        try:
            left = len(tasks)
            while left:
                event = await events.get()
                left -= event.WhichOneof("event") in ("image", "failed")
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._open -= len(tasks)

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: N802, ARG002
        """The one model."""
        limits = model_pb2.GenerationLimits(
            default_steps=DEFAULT_STEPS,
            max_steps=MAX_STEPS,
            default_guidance_scale=3.0,
            width_pixels=SIDE_PIXELS,
            height_pixels=SIDE_PIXELS,
            size_multiple_pixels=SIZE_MULTIPLE_PIXELS,
            max_side_pixels=MAX_SIDE_PIXELS,
            schedulers=["ddim"],
            token_limit=77,
        )
        role = model_pb2.MODEL_ROLE_GENERATOR
        model = model_pb2.Model(id=MODEL, revision="p1", role=role, license="Apache-2.0", generation_limits=limits)
        return pb.ListModelsResponse(models=[model])

    def _admit(self, request: pb.GenerateRequest, limit: float | None) -> None:
        if request.model not in ("", MODEL):
            raise NotFoundError(Reason.MODEL_NOT_FOUND, "model", request.model, field="model", known=[MODEL])
        if not 1 <= len(request.items) <= MAX_ITEMS:
            raise InvalidInputError("items", f"has {len(request.items)} pictures", allowed=f"1 to {MAX_ITEMS}")
        for index, item in enumerate(request.items):
            _check(item, f"items[{index}]")
        picture_seconds = self._step_seconds * _steps(request.items[0])
        ahead = max(self._open - self._slot_count + len(request.items), 0) / self._slot_count * picture_seconds
        full = self._open + len(request.items) > self._slot_count + self._max_waiting
        if full or (limit is not None and ahead + picture_seconds > limit):
            problem = "the queue is full" if full else "the queue is longer than the time left"
            raise OverloadedError(Reason.QUEUE_FULL, problem, retry_after_seconds=max(ahead, 0.05))

    async def _make(
        self, item: pb.GenerateItem, limit: float | None, events: asyncio.Queue[pb.GenerateResponse]
    ) -> None:
        def say(**event: Any) -> None:
            events.put_nowait(pb.GenerateResponse(item_id=item.item_id, **event))

        say(queued=pb.QueuedEvent(items_ahead=max(self._open - self._slot_count, 0)))
        began = False
        # Only waiting is limited: what has begun is never thrown out.
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._slots.acquire()
            began = True
        if not began:
            error = score_pb2.ItemError(reason=Reason.DEADLINE_EXCEEDED.value, message="its time was over")
            say(failed=pb.FailedEvent(error=error))
            return
        try:
            total = _steps(item)
            say(started=pb.StartedEvent(total_steps=total, batch_size=self._slot_count))
            for step in range(1, total + 1):
                await asyncio.sleep(self._step_seconds)
                say(step=pb.StepEvent(step=step, total_steps=total))
            say(image=_painted(item))
        finally:
            self._slots.release()


def _painted(item: pb.GenerateItem) -> pb.ImageEvent:
    width, height = item.width_pixels or SIDE_PIXELS, item.height_pixels or SIDE_PIXELS
    record = model_pb2.GenerationRecord(
        prompt=item.prompt,
        negative_prompt=item.negative_prompt,
        seed=item.seed,
        steps=_steps(item),
        guidance_scale=item.guidance_scale,
        scheduler="ddim",
        width_pixels=width,
        height_pixels=height,
        model=MODEL,
        model_revision="p1",
        deterministic=item.deterministic,
    )
    return pb.ImageEvent(image=image_pb2.Image(data=paint(item.prompt, item.seed, width, height)), record=record)


def _steps(item: pb.GenerateItem) -> int:
    return item.steps if item.HasField("steps") else DEFAULT_STEPS


def _check(item: pb.GenerateItem, at: str) -> None:
    sides = range(SIZE_MULTIPLE_PIXELS, MAX_SIDE_PIXELS + 1, SIZE_MULTIPLE_PIXELS)
    allowed_sides = f"multiples of {SIZE_MULTIPLE_PIXELS}, {MAX_SIDE_PIXELS} at most"
    whole: Sequence[tuple[str, range, str]] = (
        ("steps", range(1, MAX_STEPS + 1), f"1 to {MAX_STEPS}"),
        ("width_pixels", sides, allowed_sides),
        ("height_pixels", sides, allowed_sides),
    )
    for name, values, allowed in whole:
        if item.HasField(name) and getattr(item, name) not in values:  # type: ignore[arg-type]
            raise InvalidInputError(f"{at}.{name}", f"is {getattr(item, name)}", allowed=allowed)
    if item.HasField("guidance_scale") and not 0 <= item.guidance_scale <= 50:
        raise InvalidInputError(f"{at}.guidance_scale", f"is {item.guidance_scale}", allowed="0 to 50")
    if item.scheduler not in ("", "ddim"):
        raise InvalidInputError(f"{at}.scheduler", f"is {item.scheduler!r}", allowed="ddim")
    for name in ("initial_image", "mask"):
        if item.HasField(name):  # type: ignore[arg-type]
            raise InvalidInputError(f"{at}.{name}", "is not taken by this model", allowed="nothing")
    if item.adapter:
        raise NotFoundError(Reason.MODEL_NOT_FOUND, "adapter", item.adapter, field=f"{at}.adapter")
