"""Embeddings, difference vectors and scores in Redis; vectors are computed once however many gateways ask at once.

A value is raw bytes under everything that decides it (`cache_keys.py`). Losing Redis costs time, never an answer: every
function here works without it, and it is tried again by itself a moment later.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.common import telemetry
from services.common.errors import InvalidInputError, LikenessError, NotFoundError, Reason, UnavailableError
from services.gateway.cache_keys import CacheKey, V

SOCKET_TIMEOUT_SECONDS = 1.0
DOWN_SECONDS = 1.0
"""How long Redis is left alone after a failure."""
LOCK_SECONDS = 15.0
"""A gateway that dies while it computes blocks others for this long at most."""
WAIT_SECONDS = 10.0
"""Longest wait for another gateway's value; then the waiter computes it itself."""
FIRST_POLL_SECONDS = 0.01
MAX_POLL_SECONDS = 0.2

_FAILURES = (RedisError, OSError, TimeoutError)
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

T = TypeVar("T")
log = telemetry.get_logger(__name__)
_lookups = telemetry.counter(
    "likeness_gateway_cache_lookups", "Vectors looked up, by how they were found.", ("result",)
)
_errors = telemetry.counter("likeness_gateway_cache_errors", "Redis commands that failed.")


Compute = Callable[[Sequence[CacheKey[V]]], Awaitable[list[V]]]
"""Values of these keys, in order. Their revision may be newer than the one asked for."""


class VectorCache:
    """The cache of one gateway. Create it inside the running event loop.

    Args:
        redis_url: redis://, rediss:// or unix:// URL.
        ttl_seconds: How long a value is kept.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        ttl_seconds: int,
        lock_seconds: float = LOCK_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=SOCKET_TIMEOUT_SECONDS,
            socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
            # A failed command is not worth the wait: the value is computed instead.
            retry=Retry(NoBackoff(), 0),
        )
        self._ttl_seconds = ttl_seconds
        self._lock_seconds = lock_seconds
        self._wait_seconds = wait_seconds
        self._down_until = 0.0
        self._running: dict[CacheKey[Any], asyncio.Future[Any]] = {}

    async def get_or_compute(self, keys: Sequence[CacheKey[V]], compute: Compute[V]) -> list[V]:
        """Values in the order of the keys; `compute` is called for those that nobody has and nobody makes."""
        found: dict[CacheKey[V], V] = {}
        while missing := [key for key in dict.fromkeys(keys) if key not in found]:
            joined = {key: self._running[key] for key in missing if key in self._running}
            if own := [key for key in missing if key not in joined]:
                found |= await self._lead(own, compute)
            for key, future in joined.items():
                vector = await asyncio.shield(future)
                # None: whoever was computing it has no answer for this key; the next turn of the loop takes over.
                if vector is not None:
                    _lookups.labels("joined").inc()
                    found[key] = vector
        return [found[key] for key in keys]

    async def find(self, keys: Sequence[CacheKey[V]]) -> dict[CacheKey[V], V]:
        """Those values that are known, for what is cheaper to compute twice than to wait for."""
        found = await self._read(keys) if keys else {}
        _lookups.labels("hit").inc(len(found))
        _lookups.labels("miss").inc(len(keys) - len(found))
        return found

    async def keep(self, values: Mapping[CacheKey[V], V]) -> None:
        """Stores values that were computed outside."""
        if values:
            await self._write(list(values), list(values.values()))

    async def check(self) -> None:
        """Raises UnavailableError while Redis does not answer."""
        try:
            await self._redis.ping()
        except _FAILURES as error:
            self._failed(error)
            raise UnavailableError(Reason.BACKEND_UNAVAILABLE, "Redis does not answer; nothing is cached") from error
        self._down_until = 0.0

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    async def _lead(self, keys: list[CacheKey[V]], compute: Compute[V]) -> dict[CacheKey[V], V]:
        """Finds or computes keys while later callers of this process wait for the outcome."""
        loop = asyncio.get_running_loop()
        futures = {key: loop.create_future() for key in keys}
        self._running |= futures
        try:
            found = await self._find_or_compute(keys, compute)
        except BaseException as error:
            # A file may be at fault: who waits for another one, even if of the same pixels, asks by itself.
            is_of_file = isinstance(error, InvalidInputError | NotFoundError)
            for future in futures.values():
                if isinstance(error, LikenessError) and not is_of_file:
                    future.set_exception(error)
                    future.exception()  # it may have no one waiting, which is no defect
                else:
                    future.set_result(None)
            raise
        else:
            for key, future in futures.items():
                future.set_result(found[key])
            return found
        finally:
            for key in keys:
                del self._running[key]

    async def _find_or_compute(self, keys: list[CacheKey[V]], compute: Compute[V]) -> dict[CacheKey[V], V]:
        found = await self._read(keys)
        _lookups.labels("hit").inc(len(found))
        missing = [key for key in keys if key not in found]
        if not missing:
            return found
        token = secrets.token_hex(16)
        locked = await self._lock(missing, token)
        try:
            if locked:
                found |= await self._compute(locked, compute)
        finally:
            await self._release(locked, token)
        # Nothing is locked here any more, so two gateways can never wait for each other.
        if others := [key for key in missing if key not in found]:
            arrived = await self._wait(others)
            _lookups.labels("waited").inc(len(arrived))
            found |= arrived
        if late := [key for key in missing if key not in found]:
            found |= await self._compute(late, compute)
        return found

    async def _compute(self, keys: list[CacheKey[V]], compute: Compute[V]) -> dict[CacheKey[V], V]:
        _lookups.labels("miss").inc(len(keys))
        vectors = await compute(keys)
        await self._write(keys, vectors)
        return dict(zip(keys, vectors, strict=True))

    async def _read(self, keys: Sequence[CacheKey[V]]) -> dict[CacheKey[V], V]:
        values = await self._try(lambda: self._redis.mget([key.name for key in keys]))
        pairs = zip(keys, cast("list[bytes | None]", values or [None] * len(keys)), strict=True)
        return {key: key.vector(value) for key, value in pairs if value}

    async def _write(self, keys: Sequence[CacheKey[V]], vectors: Sequence[V]) -> None:
        async def send() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key, vector in zip(keys, vectors, strict=True):
                    pipe.set(key.of(vector).name, vector.data, ex=self._ttl_seconds)
                await pipe.execute()

        await self._try(send)

    async def _lock(self, keys: Sequence[CacheKey[V]], token: str) -> list[CacheKey[V]]:
        """Keys to compute here: those whose lock was free, or all without Redis."""

        async def send() -> list[object]:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.set(key.lock, token, nx=True, px=int(self._lock_seconds * 1000))
                return await pipe.execute()

        answers = await self._try(send)
        if answers is None:
            return list(keys)
        return [key for key, locked in zip(keys, answers, strict=True) if locked]

    async def _release(self, keys: Sequence[CacheKey[V]], token: str) -> None:
        async def send() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.eval(_RELEASE, 1, key.lock, token)
                await pipe.execute()

        if keys:
            await self._try(send)

    async def _wait(self, keys: Sequence[CacheKey[V]]) -> dict[CacheKey[V], V]:
        """Values that other gateways compute, as far as they come in time."""
        found: dict[CacheKey[V], V] = {}
        give_up = time.monotonic() + self._wait_seconds
        poll_seconds = FIRST_POLL_SECONDS
        while time.monotonic() < give_up and not self._is_down():
            await asyncio.sleep(poll_seconds)
            poll_seconds = min(poll_seconds * 2, MAX_POLL_SECONDS)
            left = [key for key in keys if key not in found]
            found |= await self._read(left)
            left = [key for key in left if key not in found]
            # A lock that is gone without a value: its owner failed, so waiting on is in vain.
            if not left or not await self._any_locked(left):
                found |= await self._read(left) if left else {}
                break
        return found

    async def _any_locked(self, keys: Sequence[CacheKey[V]]) -> bool:
        return bool(await self._try(lambda: self._redis.exists(*(key.lock for key in keys))))

    def _is_down(self) -> bool:
        return time.monotonic() < self._down_until

    async def _try(self, command: Callable[[], Awaitable[T]]) -> T | None:
        """Answer of a command; None if Redis fails or failed a moment ago."""
        if self._is_down():
            return None
        try:
            return await command()
        except _FAILURES as error:
            self._failed(error)
            return None

    def _failed(self, error: BaseException) -> None:
        _errors.inc()
        if not self._is_down():
            log.warning("cache_unreachable", problem=type(error).__name__)
        self._down_until = time.monotonic() + DOWN_SECONDS
