"""The cache on a real Redis: found, computed once, and gone without harm."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.cluster.redis_server import RedisServer
from services.common.errors import OverloadedError, Reason, UnavailableError
from services.gateway import cache as module
from services.gateway.cache import VectorCache
from services.gateway.cache_keys import DifferenceKey, EmbeddingKey
from services.gateway.ports import DifferenceVector, EmbeddingVector

pytestmark = pytest.mark.integration

KEYS = [EmbeddingKey(f"{number:064x}", "mean", "r1", "mean-1") for number in range(4)]


class Computer:
    """Computes embeddings and remembers for which keys it was asked."""

    def __init__(self, revision: str = "r1") -> None:
        self.revision = revision
        self.asked: list[EmbeddingKey] = []
        self.gate: asyncio.Event | None = None
        self.started = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, keys: Sequence[EmbeddingKey]) -> list[EmbeddingVector]:
        self.asked += keys
        self.started.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [EmbeddingVector("mean", self.revision, "mean-1", 1, values(key)) for key in keys]


def values(key: EmbeddingKey) -> bytes:
    return struct.pack("<f", int(key.pixel_hash[-6:], 16))


def counted(result: str) -> float:
    return REGISTRY.get_sample_value("likeness_gateway_cache_lookups_total", {"result": result}) or 0.0


@pytest_asyncio.fixture
async def cache(redis: RedisServer) -> AsyncIterator[VectorCache]:
    opened = VectorCache(redis.url, ttl_seconds=100, wait_seconds=5)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def other_gateway(redis: RedisServer) -> AsyncIterator[VectorCache]:
    opened = VectorCache(redis.url, ttl_seconds=100, wait_seconds=5)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def client(redis: RedisServer) -> AsyncIterator[Redis]:
    opened = Redis.from_url(redis.url)
    yield opened
    await opened.aclose()


async def test_only_misses_are_computed_and_order_is_kept(cache: VectorCache) -> None:
    compute = Computer()
    hits, misses = counted("hit"), counted("miss")
    await cache.get_or_compute(KEYS[1:3], compute)
    found = await cache.get_or_compute([KEYS[3], KEYS[2], KEYS[0], KEYS[2]], compute)
    assert [vector.data for vector in found] == [values(KEYS[i]) for i in (3, 2, 0, 2)]
    assert (found[0].model, found[0].revision, found[0].preprocessing, found[0].dimensions) == (
        "mean",
        "r1",
        "mean-1",
        1,
    )
    assert compute.asked == [KEYS[1], KEYS[2], KEYS[3], KEYS[0]]
    assert (counted("hit") - hits, counted("miss") - misses) == (1, 4)


async def test_values_are_raw_float32_with_an_end(cache: VectorCache, client: Redis) -> None:
    await cache.get_or_compute(KEYS[:1], Computer())
    assert await client.get(KEYS[0].name) == values(KEYS[0])
    assert 0 < await client.ttl(KEYS[0].name) <= 100
    assert not await client.exists(KEYS[0].lock), "the lock is released"


@pytest.mark.parametrize("field", ["pixel_hash", "model", "revision", "preprocessing"])
async def test_every_part_of_the_key_counts(cache: VectorCache, field: str) -> None:
    compute = Computer()
    await cache.get_or_compute(KEYS[:1], compute)
    parts = {name: getattr(KEYS[0], name) for name in ("pixel_hash", "model", "revision", "preprocessing")}
    other = EmbeddingKey(**{**parts, field: "f" * 64})
    await cache.get_or_compute([other], compute)
    assert compute.asked == [KEYS[0], other]


async def test_concurrent_callers_share_one_computation(cache: VectorCache) -> None:
    compute = Computer()
    compute.gate = asyncio.Event()
    first = asyncio.create_task(cache.get_or_compute(KEYS[:2], compute))
    await compute.started.wait()
    second = asyncio.create_task(cache.get_or_compute(KEYS[:3], compute))
    while len(compute.asked) < 3:
        await asyncio.sleep(0.01)
    compute.gate.set()
    assert [vector.data for vector in await second] == [values(key) for key in KEYS[:3]]
    await first
    assert compute.asked == KEYS[:3]


async def test_two_gateways_share_one_computation(cache: VectorCache, other_gateway: VectorCache) -> None:
    mine, theirs = Computer(), Computer()
    mine.gate = asyncio.Event()
    first = asyncio.create_task(cache.get_or_compute(KEYS[:2], mine))
    await mine.started.wait()
    second = asyncio.create_task(other_gateway.get_or_compute(KEYS[:2], theirs))
    await asyncio.sleep(0.1)
    mine.gate.set()
    assert await first == await second
    assert theirs.asked == []


async def test_a_gateway_that_died_with_the_lock_holds_nobody_up(redis: RedisServer, client: Redis) -> None:
    await client.set(KEYS[0].lock, "token of a dead gateway", px=60_000)
    cache = VectorCache(redis.url, ttl_seconds=100, wait_seconds=0.2)
    compute = Computer()
    assert (await cache.get_or_compute(KEYS[:1], compute))[0].data == values(KEYS[0])
    assert compute.asked == KEYS[:1]
    assert await client.get(KEYS[0].lock) == b"token of a dead gateway", "only its owner may release a lock"
    await cache.close()


async def test_a_gateway_that_fails_lets_the_waiting_one_compute(
    cache: VectorCache, other_gateway: VectorCache
) -> None:
    mine, theirs = Computer(), Computer()
    mine.gate, mine.error = asyncio.Event(), OverloadedError(Reason.QUEUE_FULL, "full")
    first = asyncio.create_task(cache.get_or_compute(KEYS[:1], mine))
    await mine.started.wait()
    second = asyncio.create_task(other_gateway.get_or_compute(KEYS[:1], theirs))
    await asyncio.sleep(0.1)
    mine.gate.set()
    with pytest.raises(OverloadedError):
        await first
    assert (await second)[0].data == values(KEYS[0])
    assert theirs.asked == KEYS[:1]


async def test_an_error_reaches_everyone_who_waits_for_it(cache: VectorCache) -> None:
    compute = Computer()
    compute.gate, compute.error = asyncio.Event(), OverloadedError(Reason.QUEUE_FULL, "full")
    tasks = [asyncio.create_task(cache.get_or_compute(KEYS[:1], compute)) for _ in range(3)]
    await compute.started.wait()
    compute.gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [OverloadedError] * 3
    assert compute.asked == KEYS[:1]


async def test_when_the_computing_caller_is_cancelled_another_takes_over(cache: VectorCache) -> None:
    compute = Computer()
    compute.gate = asyncio.Event()
    first = asyncio.create_task(cache.get_or_compute(KEYS[:1], compute))
    await compute.started.wait()
    second = asyncio.create_task(cache.get_or_compute(KEYS[:1], compute))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    compute.gate.set()
    assert (await second)[0].data == values(KEYS[0])
    assert compute.asked == [KEYS[0], KEYS[0]]


async def test_a_newer_revision_is_kept_under_its_own_name(cache: VectorCache, client: Redis) -> None:
    found = await cache.get_or_compute(KEYS[:1], Computer(revision="r2"))
    assert found[0].revision == "r2"
    assert not await client.exists(KEYS[0].name)
    assert await client.exists(EmbeddingKey(KEYS[0].pixel_hash, "mean", "r2", "mean-1").name)


async def test_without_redis_everything_goes_on_and_it_comes_back_by_itself(
    redis: RedisServer, cache: VectorCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DOWN_SECONDS", 0.05)
    compute = Computer()
    await cache.get_or_compute(KEYS[:1], compute)
    assert redis.process is not None
    redis.process.kill()
    await redis.process.wait()
    failed = REGISTRY.get_sample_value("likeness_gateway_cache_errors_total") or 0.0

    assert (await cache.get_or_compute(KEYS[:1], compute))[0].data == values(KEYS[0])
    assert compute.asked == [KEYS[0]] * 2
    assert (REGISTRY.get_sample_value("likeness_gateway_cache_errors_total") or 0.0) > failed
    with pytest.raises(UnavailableError):
        await cache.check()

    await redis.start()
    await asyncio.sleep(0.1)
    await cache.get_or_compute(KEYS[1:2], compute)
    await cache.get_or_compute(KEYS[1:2], compute)
    assert compute.asked == [KEYS[0], KEYS[0], KEYS[1]]
    await cache.check()


async def test_while_redis_is_down_it_is_not_asked_each_time(
    redis: RedisServer, cache: VectorCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DOWN_SECONDS", 60)
    await redis.stop()
    compute = Computer()
    await cache.get_or_compute(KEYS[:1], compute)
    failed = REGISTRY.get_sample_value("likeness_gateway_cache_errors_total")
    await cache.get_or_compute(KEYS[:2], compute)
    assert REGISTRY.get_sample_value("likeness_gateway_cache_errors_total") == failed
    # The health check asks all the same, and its success ends the pause.
    await redis.start()
    await cache.check()
    await cache.get_or_compute(KEYS[2:3], compute)
    compute.asked.clear()
    await cache.get_or_compute(KEYS[2:3], compute)
    assert compute.asked == []


PAIR = DifferenceKey("a" * 64, "b" * 64, "channels", "b1", "pair-1")


async def difference(keys: Sequence[DifferenceKey]) -> list[DifferenceVector]:
    return [DifferenceVector("channels", "b1", "pair-1", 2, struct.pack("<2e", 1.5, 256)) for _ in keys]


async def test_difference_vectors_are_raw_float16_of_their_pair(cache: VectorCache, client: Redis) -> None:
    made = await cache.get_or_compute([PAIR], difference)
    assert await client.get(PAIR.name) == struct.pack("<2e", 1.5, 256)
    compute = Computer()
    assert await cache.get_or_compute([PAIR], compute) == made == await difference([PAIR])
    assert compute.asked == []


@pytest.mark.parametrize("field", ["target_hash", "candidate_hash", "metric", "backbone_revision", "preprocessing"])
def test_every_part_of_a_pairs_key_counts(field: str) -> None:
    other = replace(PAIR, **{field: "f" * 64})
    assert other.name != PAIR.name and other != PAIR and hash(other) != hash(PAIR)
    swapped = replace(PAIR, target_hash=PAIR.candidate_hash, candidate_hash=PAIR.target_hash)
    assert swapped.name != PAIR.name, "LPIPS of pictures of two sizes is not symmetric"


async def test_a_newer_backbones_vectors_are_kept_under_its_own_name(cache: VectorCache, client: Redis) -> None:
    async def newer(keys: Sequence[DifferenceKey]) -> list[DifferenceVector]:
        return [replace(vector, backbone_revision="b2") for vector in await difference(keys)]

    await cache.get_or_compute([PAIR], newer)
    assert not await client.exists(PAIR.name)
    assert await client.exists(replace(PAIR, backbone_revision="b2").name)
