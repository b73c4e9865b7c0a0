"""Stored pictures and scores outside sessions, for both clients."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from likeness import _calls
from likeness import _types as t
from likeness._calling import AsyncCalling, Calling


class ImageMethods(Calling):
    """Pictures for the sync client."""

    def upload_image(self, source: t.ImageSource) -> t.ImageInfo:
        """Stores a picture. Uploading the same bytes again is free."""
        return self._run(_calls.upload_image(source))

    def get_image(self, picture: t.ImageInfo | str) -> Image.Image:
        """A stored picture, by its info or content hash."""
        image = Image.open(io.BytesIO(self.get_image_bytes(picture)))
        image.load()
        return image

    def get_image_bytes(self, picture: t.ImageInfo | str) -> bytes:
        """The stored bytes of a picture as they are, text chunks included."""
        return self._run(_calls.get_image(picture))

    def score(
        self,
        target: t.ImageSource | None,
        candidates: Sequence[t.ImageSource],
        *,
        text: str = "",
        metrics: Sequence[str] = (),
    ) -> tuple[t.ImageScores, ...]:
        """Scores candidates against a target and/or a text, in order, without storing them. A bad one fails alone."""
        return self._run(_calls.score(target, candidates, text, metrics))


class AsyncImageMethods(AsyncCalling):
    """Pictures for the async client."""

    async def upload_image(self, source: t.ImageSource) -> t.ImageInfo:
        """Stores a picture. Uploading the same bytes again is free."""
        return await self._run(_calls.upload_image(source))

    async def get_image(self, picture: t.ImageInfo | str) -> Image.Image:
        """A stored picture, by its info or content hash."""
        image = Image.open(io.BytesIO(await self.get_image_bytes(picture)))
        image.load()
        return image

    async def get_image_bytes(self, picture: t.ImageInfo | str) -> bytes:
        """The stored bytes of a picture as they are, text chunks included."""
        return await self._run(_calls.get_image(picture))

    async def score(
        self,
        target: t.ImageSource | None,
        candidates: Sequence[t.ImageSource],
        *,
        text: str = "",
        metrics: Sequence[str] = (),
    ) -> tuple[t.ImageScores, ...]:
        """Scores candidates against a target and/or a text, in order, without storing them. A bad one fails alone."""
        return await self._run(_calls.score(target, candidates, text, metrics))
