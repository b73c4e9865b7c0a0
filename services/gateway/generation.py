"""Pictures from a prompt, outside any session: no state but the pictures that the caller wants kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
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
from services.common.images import MAX_BYTES
from services.common.settings import MEBIBYTE
from services.gateway.access.limits import Quota
from services.gateway.batches import MAX_CALL_BYTES
from services.gateway.decoding import image_info
from services.gateway.domain import GenerationRecord, ImageInfo, ItemError
from services.gateway.loops.retry import Attempts, RetryPolicy, retried
from services.gateway.ports import (
    GeneratedImage,
    GenerationEvent,
    GenerationFailure,
    GenerationItem,
    GenerationPreview,
    GenerationProgress,
    GeneratorPort,
    ObjectStore,
    Priority,
)
from services.gateway.profiles.model import PictureInput
from services.gateway.scorable import ScorableImage
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
    initial_image: PictureInput | None = None
    strength: float | None = None
    mask: PictureInput | None = None
    second_strength: float | None = None
    adapter: str = ""
    adapter_scale: float | None = None
    preview_interval_steps: int = 0
    deterministic: bool = False
    priority: Priority = Priority.INTERACTIVE
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
    event: GenerationProgress | GenerationPreview | FinishedImage | ItemError


class ImageGeneration:
    """Makes pictures for callers who wait for them."""

    def __init__(
        self,
        generator: GeneratorPort,
        images: ImageRepository,
        objects: ObjectStore,
        quota: Quota,
        *,
        retry: RetryPolicy,
        timeout_seconds: float,
    ) -> None:
        self._generator = generator
        self._images = images
        self._objects = objects
        self._quota = quota
        self._retry = retry
        self._timeout_seconds = timeout_seconds

    async def generate(
        self, tenant_id: str, asked: GenerationInput, *, call_id: str, timeout_seconds: float | None
    ) -> AsyncGenerator[ImageUpdate, None]:
        """Streams updates until every picture is done or has failed. Closing the iterator cancels the denoising.

        It reads from the generator only as fast as it is read, and the generator replaces progress and previews that
        wait: a slow reader costs no memory here, and gets the newest of them and every picture.

        Args:
            tenant_id: Whose pictures are read by their hashes, and to whom those belong that are kept.
            asked: What to make.
            call_id: Id of the call in the logs of all services.
            timeout_seconds: Time that the caller leaves; None means this gateway's own limit.

        Raises:
            InvalidInputError: a field is not allowed; `field` is this request's, also where the generator found it.
            NotFoundError: MODEL_NOT_FOUND; IMAGE_NOT_FOUND for a content hash.
            OverloadedError: QUEUE_FULL, with the time after which to try again; no picture was begun.
            LimitError: QUOTA_EXCEEDED, the tenant's pictures or pixels of the day do not suffice; none was begun.
            UnavailableError: the generator, or a store while pictures are kept or read, does not answer.
        """
        items = await self._with_pictures(tenant_id, _items(asked), asked)
        limit = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        await self._quota.spend(tenant_id, len(items))
        async with aclosing(
            self._accepted(self._events(items, asked, call_id, limit), tenant_id, len(items))
        ) as events:
            async for event in events:
                item = items[event.item_id]
                match event:
                    case GenerationProgress() | GenerationPreview():
                        yield ImageUpdate(int(item.item_id), item.seed, event)
                    case GeneratedImage():
                        finished = await self._finished(tenant_id, event, keep=asked.keep)
                        yield ImageUpdate(int(item.item_id), item.seed, finished)
                    case GenerationFailure(_, error):
                        own = replace(error, field=_own_words(error.field), message=_own_words(error.message))
                        yield ImageUpdate(int(item.item_id), item.seed, own)

    async def _accepted(
        self, events: AsyncGenerator[GenerationEvent, None], tenant_id: str, count: int
    ) -> AsyncGenerator[GenerationEvent, None]:
        """The events; pictures that the generator refused to begin are given back to the quota."""
        accepted = False
        try:
            async with aclosing(events):
                async for event in events:
                    accepted = True
                    yield event
        except LikenessError:
            if not accepted:
                await self._quota.give_back(tenant_id, count)
            raise

    async def _events(
        self, items: dict[str, GenerationItem], asked: GenerationInput, call_id: str, timeout_seconds: float
    ) -> AsyncGenerator[GenerationEvent, None]:
        """The generator's events. Pictures that a replica took with it are asked for again: seeds fix them."""
        missing = dict(items)
        attempts = Attempts(self._retry)
        accepted = False
        while missing:
            called = _one_call(list(missing.values()))
            failure: LikenessError = UnavailableError(Reason.BACKEND_UNAVAILABLE, "the generator left pictures out")
            events = self._generator.generate(
                called,
                model=asked.model,
                request_id=call_id,
                timeout_seconds=timeout_seconds,
                priority=asked.priority,
            )
            try:
                async with aclosing(events):  # type: ignore[type-var]
                    async for event in events:
                        accepted = True
                        stopped = isinstance(event, GenerationFailure) and event.error.reason in _STOPPED
                        if stopped or event.item_id not in missing:
                            continue
                        if isinstance(event, GeneratedImage | GenerationFailure):
                            del missing[event.item_id]
                            attempts.progressed()
                        yield event
            except LikenessError as error:
                # What was never accepted is the caller's to repeat: it knows whether it wants to wait.
                if not accepted or not isinstance(error, UnavailableError | OverloadedError):
                    error.field, error.message = _own_words(error.field), _own_words(error.message)
                    raise
                failure = error
            if any(item.item_id in missing for item in called):
                await attempts.failed(failure)

    async def _with_pictures(
        self, tenant_id: str, items: dict[str, GenerationItem], asked: GenerationInput
    ) -> dict[str, GenerationItem]:
        """The items with the bytes of the pictures that they start from."""
        initial_image = await self._read(tenant_id, asked.initial_image, "initial_image")
        mask = await self._read(tenant_id, asked.mask, "mask")
        if len(initial_image or b"") + len(mask or b"") > MAX_CALL_BYTES:
            allowed = f"at most {MAX_CALL_BYTES // MEBIBYTE} MiB for both files"
            raise InvalidInputError("mask", "is too large together with the initial image", allowed=allowed)
        return {number: replace(item, initial_image=initial_image, mask=mask) for number, item in items.items()}

    async def _read(self, tenant_id: str, picture: PictureInput | None, field: str) -> bytes | None:
        """Bytes of a picture. Whether they can be decoded is the generator's to say, which has to do it anyway."""
        if picture is None:
            return None
        if picture.data is not None:
            if len(picture.data) > MAX_BYTES:
                problem, allowed = f"the file has {len(picture.data):,} bytes", f"at most {MAX_BYTES:,} bytes"
                raise ImageError(Reason.IMAGE_TOO_LARGE, problem, field=field, allowed=allowed)
            return picture.data
        if not picture.content_hash:
            raise InvalidInputError(field, "is empty", allowed="data or content_hash")
        at = f"{field}.content_hash"
        info = await self._images.find(tenant_id, validation.content_hash(at, picture.content_hash), field=at)
        return await ScorableImage.stored(info, self._objects, field=at).read()

    async def _finished(self, tenant_id: str, made: GeneratedImage, *, keep: bool) -> FinishedImage | ItemError:
        try:
            info = await image_info(made.data)
        except ImageError as error:
            return ItemError(Reason.GENERATION_FAILED.value, error.message)
        await retried(self._retry, lambda: self._quota.made(tenant_id, info.width_pixels * info.height_pixels))
        if keep:
            await retried(self._retry, lambda: self._images.add(tenant_id, made.data, info))
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
            strength=asked.strength,
            second_strength=asked.second_strength,
            adapter=asked.adapter,
            adapter_scale=asked.adapter_scale,
            preview_interval_steps=asked.preview_interval_steps,
            deterministic=asked.deterministic,
        )
        for number in range(1, count + 1)
    }


def _one_call(items: Sequence[GenerationItem]) -> list[GenerationItem]:
    """The first items, as many as fit one call: each carries the bytes of the pictures that it starts from."""
    size = len(items[0].initial_image or b"") + len(items[0].mask or b"")
    return list(items[: max(MAX_CALL_BYTES // size, 1)] if size else items)


def _drawn_seed(request_id: str) -> int:
    """A random seed; the same one for the same request id, so that a repeated request makes the same pictures."""
    if not request_id:
        return secrets.randbits(DRAWN_SEED_BITS)
    digest = hashlib.sha256(f"likeness-generate:{request_id}".encode()).digest()
    return int.from_bytes(digest[: DRAWN_SEED_BITS // 8], "big")


def _own_words(text: str) -> str:
    """The generator's text about a field of its request, such as "items[0].steps", as one about ours."""
    return _ITEM.sub("", text)
