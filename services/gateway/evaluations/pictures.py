"""The pictures of items: addressed by their pixels, many at a time, without decoding the same bytes again."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.common import images
from services.common.errors import ImageError, LikenessError, NotFoundError, Reason
from services.common.settings import MEBIBYTE
from services.gateway import decoding
from services.gateway.ports import ObjectStore
from services.gateway.profiles.model import PictureInput
from services.gateway.scorable import ScorableImage
from services.gateway.store.images import ImageRepository

MAX_KNOWN = 8192
"""Pictures whose pixel hash is remembered: about a megabyte."""
MAX_DECODES = 2
"""Runs of pictures that are decoded at the same time: bounds memory, and leaves threads to other calls."""
_RUN_BYTES = MEBIBYTE
"""A run is decoded in one thread call, which costs more than a small picture."""


@dataclass(frozen=True)
class NamedPicture:
    """A picture of an item and the field that it came in."""

    field: str
    picture: PictureInput


class ItemPictures:
    """Finds the pictures of items."""

    def __init__(self, images: ImageRepository, objects: ObjectStore) -> None:
        self._images = images
        self._objects = objects
        self._hashes = _KnownHashes()
        self._decodes = asyncio.Semaphore(MAX_DECODES)

    async def find(self, tenant_id: str, pictures: Sequence[NamedPicture]) -> list[ScorableImage | LikenessError]:
        """Pictures in order, or why one cannot be taken (ImageError, NotFoundError).

        Raises:
            UnavailableError: DATABASE_UNAVAILABLE.
        """
        stored = {one.picture.content_hash for one in pictures if one.picture.data is None}
        infos = await self._images.find_all(tenant_id, stored) if stored else {}
        given = [one for one in pictures if one.picture.data is not None]
        decoded = iter([found for run in await asyncio.gather(*map(self._decode, _runs(given))) for found in run])
        return [
            next(decoded)
            if one.picture.data is not None
            # Waiting for what is damaged would keep all other items waiting too.
            else ScorableImage.whole(infos[one.picture.content_hash], self._objects, field=f"{one.field}.content_hash")
            if one.picture.content_hash in infos
            else _absent(one)
            for one in pictures
        ]

    async def _decode(self, run: Sequence[NamedPicture]) -> list[ScorableImage | LikenessError]:
        async with self._decodes:
            return await asyncio.to_thread(lambda: [self._address(one) for one in run])

    def _address(self, one: NamedPicture) -> ScorableImage | LikenessError:
        data = one.picture.data
        assert data is not None
        content_hash = images.content_hash(data)
        pixel_hash = self._hashes.find(content_hash)
        if pixel_hash is None:
            try:
                pixel_hash = decoding.image_info_blocking(data, field=f"{one.field}.data").pixel_hash
            except ImageError as error:
                return error
            self._hashes.add(content_hash, pixel_hash)
        return ScorableImage.given(data, pixel_hash)


class _KnownHashes:
    """Pixel hashes by content hash, the most recently used ones; used by several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, content_hash: str) -> str | None:
        with self._lock:
            if content_hash not in self._known:
                return None
            self._known.move_to_end(content_hash)
            return self._known[content_hash]

    def add(self, content_hash: str, pixel_hash: str) -> None:
        with self._lock:
            self._known[content_hash] = pixel_hash
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)


def _runs(pictures: Sequence[NamedPicture]) -> Iterator[list[NamedPicture]]:
    run: list[NamedPicture] = []
    size = 0
    for one in pictures:
        run.append(one)
        size += len(one.picture.data or b"")
        if size >= _RUN_BYTES:
            yield run
            run, size = [], 0
    if run:
        yield run


def _absent(one: NamedPicture) -> NotFoundError:
    field = f"{one.field}.content_hash"
    return NotFoundError(Reason.IMAGE_NOT_FOUND, "image", one.picture.content_hash, field=field)
