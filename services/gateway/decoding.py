"""Checks pictures that come in, from callers and from the generator, and tells their addresses.

Nothing of a file but its length is looked at in this process: whoever breaks a decoder is in a worker process that has
no keys, cannot write a file, and ends when it takes too much (`decoders/`).
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
from concurrent.futures import ThreadPoolExecutor

from services.common import images
from services.common.errors import ImageError
from services.gateway import domain
from services.gateway.decoders.pool import DecoderPool

MAX_WORKERS = 8

_workers = min(MAX_WORKERS, len(os.sched_getaffinity(0)))
_pool = DecoderPool(_workers)
# Not asyncio's own threads: pictures that wait for a worker must not keep files and stores waiting.
_threads = ThreadPoolExecutor(_workers, thread_name_prefix="decoding")


async def start() -> None:
    """Makes the first worker ready. Raises UnavailableError if none can be started."""
    await asyncio.get_running_loop().run_in_executor(_threads, _pool.start)


@atexit.register
def close() -> None:
    """Ends all workers and with them what is under way, which fails with UnavailableError."""
    _pool.close()


async def image_info(data: bytes, *, field: str = "image") -> domain.ImageInfo:
    """Checks and addresses a picture, off the event loop.

    Raises:
        ImageError: it cannot be taken; blamed on `field`.
        UnavailableError: no worker can be started.
    """
    inside = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, lambda: inside.run(image_info_blocking, data, field=field))


def image_info_blocking(data: bytes, *, field: str = "image") -> domain.ImageInfo:
    """The same, in the calling thread."""
    images.check_bytes(data, field=field)
    try:
        facts = _pool.describe(data)
    except ImageError as error:
        raise error.at(field) from error
    return domain.ImageInfo(
        # Not from the worker: whoever made it lie here could have another tenant's picture.
        content_hash=images.content_hash(data),
        pixel_hash=facts.pixel_hash,
        media_type=facts.media_type,
        width_pixels=facts.width_pixels,
        height_pixels=facts.height_pixels,
        size_bytes=len(data),
    )
