"""Pictures to score, known by the address of their pixels and read only where bytes are needed; what scores them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from services.common.errors import DamagedObjectError, ImageError, NotFoundError, Reason
from services.gateway.domain import ImageInfo
from services.gateway.ports import CandidateScores, MetricCatalog, ObjectStore
from services.gateway.stored import read_whole


@dataclass(frozen=True)
class ScorableImage:
    """A picture with the address of its normalized pixels.

    Args:
        pixel_hash: Address of the pixels, by which embeddings and difference vectors are cached.
        size_bytes: Size of the encoded file.
        read: Reads the encoded file.
    """

    pixel_hash: str
    size_bytes: int
    read: Callable[[], Awaitable[bytes]]

    @classmethod
    def given(cls, data: bytes, pixel_hash: str) -> ScorableImage:
        """A picture whose bytes are at hand."""
        return cls(pixel_hash, len(data), partial(_given, data))

    @classmethod
    def stored(cls, info: ImageInfo, objects: ObjectStore, *, field: str = "content_hash") -> ScorableImage:
        """A picture of the object store. Reading it raises NotFoundError, blamed on `field`, if it was collected."""
        return cls(info.pixel_hash, info.size_bytes, partial(_fetch, info.content_hash, objects, field))

    @classmethod
    def whole(cls, info: ImageInfo, objects: ObjectStore, *, field: str) -> ScorableImage:
        """As `stored`, for work that waits for a store that is away: damage is not waited for.

        Reading it raises ImageError (IMAGE_UNREADABLE), blamed on `field`, if its bytes come damaged again and again.
        """
        image = cls.stored(info, objects, field=field)
        return replace(image, read=partial(_read_whole, image.read, field))


class Scoring(Protocol):
    """The scorer behind the embedding cache."""

    async def score(
        self,
        *,
        target: ScorableImage | None,
        text: str,
        candidates: Sequence[ScorableImage],
        metrics: Sequence[str],
        request_id: str,
        tenant_id: str,
    ) -> list[CandidateScores]:
        """Embeds what the cache lacks, then compares; personal metrics are the tenant's.

        Raises:
            NotFoundError: as MetricCatalog.find raises it.
        """
        ...

    async def metrics(self) -> MetricCatalog:
        """Metrics of the deployment."""
        ...


async def _given(data: bytes) -> bytes:
    return data


async def _fetch(content_hash: str, objects: ObjectStore, field: str) -> bytes:
    try:
        return await objects.get(content_hash)
    except NotFoundError as error:
        raise NotFoundError(error.reason, "image", content_hash, field=field) from error


async def _read_whole(read: Callable[[], Awaitable[bytes]], field: str) -> bytes:
    try:
        return await read_whole(read)
    except DamagedObjectError as error:
        raise ImageError(
            Reason.IMAGE_UNREADABLE, error.message, field=field, allowed="a picture that is whole"
        ) from error
