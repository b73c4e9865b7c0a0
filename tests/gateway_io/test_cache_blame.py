"""A picture that cannot be embedded is nobody's fault but its own, whoever asked for it together with others."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from services.cluster.redis_server import RedisServer
from services.common.errors import ImageError, LikenessError, NotFoundError, Reason, UnavailableError
from services.gateway.cache import VectorCache
from services.gateway.cache_keys import EmbeddingKey
from services.gateway.ports import EmbeddingVector

pytestmark = pytest.mark.integration

GOOD, BAD = (EmbeddingKey(f"{number:064x}", "mean", "r1", "mean-1") for number in range(2))


@pytest_asyncio.fixture
async def cache(redis: RedisServer) -> AsyncIterator[VectorCache]:
    opened = VectorCache(redis.url, ttl_seconds=100, wait_seconds=5)
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("error", "is_shared"),
    [
        (ImageError(Reason.IMAGE_UNREADABLE, "is damaged"), False),
        (NotFoundError(Reason.IMAGE_NOT_FOUND, "image", "ab"), False),
        (UnavailableError(Reason.MODEL_UNAVAILABLE, "away"), True),
    ],
)
@pytest.mark.parametrize(
    "asked",
    [pytest.param([GOOD, BAD], id="another picture"), pytest.param([GOOD], id="another file of the same pixels")],
)
async def test_who_waits_for_one_picture_is_not_told_of_another(
    cache: VectorCache, error: LikenessError, is_shared: bool, asked: list[EmbeddingKey]
) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    async def fail(_: Sequence[EmbeddingKey]) -> list[EmbeddingVector]:
        started.set()
        await gate.wait()
        raise error

    async def one(keys: Sequence[EmbeddingKey]) -> list[EmbeddingVector]:
        return [EmbeddingVector("mean", "r1", "mean-1", 1, struct.pack("<f", 1.0)) for _ in keys]

    first = asyncio.create_task(cache.get_or_compute(asked, fail))
    await started.wait()
    alone = asyncio.create_task(cache.get_or_compute([GOOD], one))
    # It joins what is under way.
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(type(error)):
        await first
    if is_shared:
        with pytest.raises(type(error)):
            await alone
    else:
        assert len(await alone) == 1
