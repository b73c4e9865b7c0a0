"""Reads what the object store has; bytes that come damaged are read again before they are given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.common.errors import DamagedObjectError

WAITS_SECONDS = (0.2, 1.0)
"""Before each further reading. The way to the store may have been at fault; what is damaged in it stays so."""


async def read_whole(read: Callable[[], Awaitable[bytes]]) -> bytes:
    """Bytes as `read` gives them.

    Raises:
        DamagedObjectError: they came damaged every time.
        LikenessError: whatever else `read` raises, at once: a store that is away is waited for by those who ask.
    """
    for seconds in WAITS_SECONDS:
        try:
            return await read()
        except DamagedObjectError:
            await asyncio.sleep(seconds)
    return await read()
