"""Scores in a real Redis: found in one look-up, kept with an end, and gone without harm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from services.cluster.redis_server import RedisServer
from services.gateway.cache import VectorCache
from services.gateway.cache_keys import ScoreKey, ScoreValue

pytestmark = pytest.mark.integration

KEYS = [ScoreKey(f"{number:064x}", "c" * 64, "", "ssim", "r1", "rgb8") for number in range(4)]


@pytest_asyncio.fixture
async def cache(redis: RedisServer) -> AsyncIterator[VectorCache]:
    opened = VectorCache(redis.url, ttl_seconds=100)
    yield opened
    await opened.close()


async def test_what_is_kept_is_found(cache: VectorCache, redis: RedisServer) -> None:
    values = {key: ScoreValue("ssim", "r1", bytes([number, 0, 255])) for number, key in enumerate(KEYS[:3])}
    await cache.keep(values)
    assert await cache.find([*KEYS, KEYS[0]]) == values
    client = Redis.from_url(redis.url)
    assert await client.get(KEYS[1].name) == b"\x01\x00\xff" and 0 < await client.ttl(KEYS[1].name) <= 100
    await client.aclose()


@pytest.mark.parametrize("field", ["target_hash", "candidate_hash", "text_hash", "metric", "revision", "preprocessing"])
async def test_every_part_of_the_key_counts(cache: VectorCache, field: str) -> None:
    key = replace(KEYS[0], target_hash=field)
    await cache.keep({key: ScoreValue("ssim", "r1", b"x")})
    assert list(await cache.find([key, replace(key, **{field: "other"})])) == [key]


async def test_nothing_is_no_look_up(cache: VectorCache) -> None:
    await cache.keep({})
    assert await cache.find([]) == {}


async def test_without_redis_nothing_is_known_and_nothing_fails() -> None:
    cache = VectorCache("unix:///nowhere/redis.sock", ttl_seconds=100)
    await cache.keep({KEYS[0]: ScoreValue("ssim", "r1", b"x")})
    assert await cache.find(KEYS) == {}
    await cache.close()
