"""Checks pictures that come in, from callers and from the generator, and tells their addresses."""

from __future__ import annotations

import asyncio

from services.common import images
from services.gateway import domain


async def image_info(data: bytes, *, field: str = "image") -> domain.ImageInfo:
    """Checks and addresses a picture, off the event loop. Raises ImageError, blamed on `field`."""
    decoded = await asyncio.to_thread(images.decode, data, field=field)
    return domain.ImageInfo(
        content_hash=decoded.content_hash,
        pixel_hash=decoded.pixel_hash,
        media_type=decoded.media_type,
        width_pixels=decoded.width,
        height_pixels=decoded.height,
        size_bytes=decoded.size_bytes,
    )
