"""Pictures from a prompt, outside any session: no state but the pictures that the caller wants kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from services.common.errors import (
    ImageError,
    InvalidInputError,
    LikenessError,
    OverloadedError,
    Reason,
    UnavailableError,
)
from services.gateway.decoding import image_info
from services.gateway.domain import GenerationRecord, ImageInfo, ItemError
from services.gateway.loops.retry import Attempts, RetryPolicy, retried
from services.gateway.ports import (
    GeneratedImage,
    GenerationEvent,
    GenerationFailure,
    GenerationItem,
    GenerationProgress,
    GeneratorPort,
)
from services.gateway.sessions import validation
from services.gateway.store.images import ImageRepository

MAX_IMAGES = 16
MAX_SEED = 2**64 - 1
DRAWN_SEED_BITS = 32
"""Short enough to be typed again."""

_STOPPED = {Reason.BACKEND_UNAVAILABLE, Reason.CANCELLED}
"""Reasons that a replica gives for open items when it stops. Whoever cancels himself does not wait for them."""
_ITEM = re.compile(r"^items\[\d+\]\.")


@dataclass(frozen=True)
class GenerationInput:
    """What a caller asks for; None or empty means the default."""

    prompt: str
    negative_prompt: str = ""
    seed: int | None = None
    count: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    width_pixels: int | None = None
    height_pixels: int | None = None
    scheduler: str = ""
    model: str = ""
    keep: bool = False
    request_id: str = ""


@dataclass(frozen=True)
class FinishedImage:
    """A finished picture as PNG bytes."""

    data: bytes
    info: ImageInfo
    record: GenerationRecord
    prompt_truncated: bool


@dataclass(frozen=True)
class ImageUpdate:
    """Something that happened to picture `number`, from 1. Its last update is a FinishedImage or an ItemError."""

    number: int
    seed: int
    event: GenerationProgress | FinishedImage | ItemError


class ImageGeneration:
    """Makes pictures for callers who wait for them."""

    def __init__(
        self, generator: GeneratorPort, images: ImageRepository, *, retry: RetryPolicy, timeout_seconds: float
    ) -> None:
        self._generator = generator
        self._images = images
        self._retry = retry
        self._timeout_seconds = timeout_seconds

    async def generate(
        self, asked: GenerationInput, *, call_id: str, timeout_seconds: float | None
    ) -> AsyncGenerator[ImageUpdate, None]:
        """Streams updates until every picture is done or has failed. Closing the iterator cancels the denoising.

        It reads from the generator only as fast as it is read, and the generator replaces progress that waits: a slow
        reader costs no memory here, and gets the newest progress and every picture.

        Args:
            asked: What to make.
            call_id: Id of the call in the logs of all services.
            timeout_seconds: Time that the caller leaves; None means this gateway's own limit.

        Raises:
            InvalidInputError: a field is not allowed; `field` is this request's, also where the generator found it.
            NotFoundError: MODEL_NOT_FOUND.
            OverloadedError: QUEUE_FULL; no picture was begun.
            UnavailableError: the generator, or a store while pictures are kept, does not answer.
        """
        items = _items(asked)
        limit = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        async with aclosing(self._events(items, asked.model, call_id, limit)) as events:
            async for event in events:
                item = items[event.item_id]
                match event:
                    case GenerationProgress():
                        yield ImageUpdate(int(item.item_id), item.seed, event)
                    case GeneratedImage():
                        finished = await self._finished(event, keep=asked.keep)
                        yield ImageUpdate(int(item.item_id), item.seed, finished)
                    case GenerationFailure(_, error):
                        own = replace(error, field=_own_words(error.field), message=_own_words(error.message))
                        yield ImageUpdate(int(item.item_id), item.seed, own)

    async def _events(
        self, items: dict[str, GenerationItem], model: str, call_id: str, timeout_seconds: float
    ) -> AsyncGenerator[GenerationEvent, None]:
        """The generator's events. Pictures that a replica took with it are asked for again: seeds fix them."""
        missing = dict(items)
        attempts = Attempts(self._retry)
        accepted = False
        while missing:
            failure: LikenessError = UnavailableError(Reason.BACKEND_UNAVAILABLE, "the generator left pictures out")
            events = self._generator.generate(
                list(missing.values()), model=model, request_id=call_id, timeout_seconds=timeout_seconds
            )
            try:
                async with aclosing(events):  # type: ignore[type-var]
                    async for event in events:
                        accepted = True
                        stopped = isinstance(event, GenerationFailure) and event.error.reason in _STOPPED
                        if stopped or event.item_id not in missing:
                            continue
                        if not isinstance(event, GenerationProgress):
                            del missing[event.item_id]
                            attempts.progressed()
                        yield event
            except LikenessError as error:
                # What was never accepted is the caller's to repeat: it knows whether it wants to wait.
                if not accepted or not isinstance(error, UnavailableError | OverloadedError):
                    error.field, error.message = _own_words(error.field), _own_words(error.message)
                    raise
                failure = error
            if missing:
                await attempts.failed(failure)

    async def _finished(self, made: GeneratedImage, *, keep: bool) -> FinishedImage | ItemError:
        try:
            info = await image_info(made.data)
        except ImageError as error:
            return ItemError(Reason.GENERATION_FAILED.value, error.message)
        if keep:
            await retried(self._retry, lambda: self._images.add(made.data, info))
        return FinishedImage(made.data, info, made.record, made.prompt_truncated)


def _items(asked: GenerationInput) -> dict[str, GenerationItem]:
    """Checked pictures by number. What depends on the model is left to the generator, which knows its limits."""
    validation.text("prompt", asked.prompt)
    validation.text("negative_prompt", asked.negative_prompt, required=False)
    request_id = validation.request_id(asked.request_id) if asked.request_id else ""
    count = 1 if asked.count is None else asked.count
    if not 1 <= count <= MAX_IMAGES:
        raise InvalidInputError("count", f"is {count}", allowed=f"1 to {MAX_IMAGES}")
    first_seed = _drawn_seed(request_id) if asked.seed is None else asked.seed
    last_first_seed = MAX_SEED - count + 1
    if not 0 <= first_seed <= last_first_seed:
        problem = f"is {first_seed}" + (f", with {count} pictures" if count > 1 else "")
        raise InvalidInputError("seed", problem, allowed=f"0 to {last_first_seed}")
    return {
        str(number): GenerationItem(
            str(number),
            asked.prompt,
            first_seed + number - 1,
            negative_prompt=asked.negative_prompt,
            steps=asked.steps,
            guidance_scale=asked.guidance_scale,
            width_pixels=asked.width_pixels,
            height_pixels=asked.height_pixels,
            scheduler=asked.scheduler,
        )
        for number in range(1, count + 1)
    }


def _drawn_seed(request_id: str) -> int:
    """A random seed; the same one for the same request id, so that a repeated request makes the same pictures."""
    if not request_id:
        return secrets.randbits(DRAWN_SEED_BITS)
    digest = hashlib.sha256(f"likeness-generate:{request_id}".encode()).digest()
    return int.from_bytes(digest[: DRAWN_SEED_BITS // 8], "big")


def _own_words(text: str) -> str:
    """The generator's text about a field of its request, such as "items[0].steps", as one about ours."""
    return _ITEM.sub("", text)
