"""Calls a second and calls at a time, for each key. Counted in Redis, so that all gateways share the limits.

Without Redis each gateway counts for itself: the limits are then per gateway, and nobody is locked out.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.common import telemetry
from services.gateway.access.limits import TenantLimits

SOCKET_TIMEOUT_SECONDS = 0.5
DOWN_SECONDS = 1.0
"""How long Redis is left alone after a failure."""
CALL_LEASE_SECONDS = 60.0
"""How long calls of a gateway that died count as open."""
RENEW_SECONDS = CALL_LEASE_SECONDS / 3
BURST_SECONDS = 2.0
"""A key that was idle may begin as many calls at once as in this time; one at least."""

_FAILURES = (RedisError, OSError, TimeoutError)

_BEGIN = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local rate, burst, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if most > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if redis.call('ZCARD', KEYS[2]) >= most then return {2, 0} end
end
if rate > 0 then
  local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'time')
  local passed = math.max(0, now - (tonumber(bucket[2]) or now))
  local tokens = math.min(burst, (tonumber(bucket[1]) or burst) + passed * rate / 1000)
  if tokens < 1 then return {1, math.ceil((1 - tokens) * 1000 / rate)} end
  redis.call('HSET', KEYS[1], 'tokens', tostring(tokens - 1), 'time', tostring(now))
  redis.call('PEXPIRE', KEYS[1], math.ceil(burst * 1000 / rate) + 1000)
end
if most > 0 then
  redis.call('ZADD', KEYS[2], now + ARGV[5], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return {0, 0}
"""
_RENEW = """
local clock = redis.call('TIME')
local until_ = clock[1] * 1000 + clock[2] / 1000 + ARGV[2]
redis.call('ZADD', KEYS[1], until_, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

log = telemetry.get_logger(__name__)


class Refusal(Enum):
    """Why a call may not begin."""

    RATE = auto()
    CONCURRENCY = auto()


@dataclass(frozen=True)
class Verdict:
    """Whether a call may begin; if not, why, and when to ask again."""

    refusal: Refusal | None = None
    retry_after_seconds: float = 0.0


class Throttle:
    """Counts the calls of keys.

    Args:
        redis_url: Where all gateways count; None counts for this gateway alone.
    """

    def __init__(self, redis_url: str | None) -> None:
        self._redis = None
        if redis_url is not None:
            self._redis = Redis.from_url(
                redis_url,
                socket_timeout=SOCKET_TIMEOUT_SECONDS,
                socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        self._down_until = 0.0
        self._open: dict[str, str] = {}
        self._local = LocalCounts()
        self._renewing: asyncio.Task[None] | None = None

    async def begin(self, key_id: str, call_id: str, limits: TenantLimits) -> Verdict:
        """Counts a call as begun and open, unless a limit is reached. Every call that may begin needs an `end`."""
        rate, most = limits.requests_per_second or 0.0, limits.concurrent_calls or 0
        if not rate and not most:
            return Verdict()
        verdict = await self._begin_shared(key_id, call_id, rate, most)
        if verdict is None:
            verdict = self._local.begin(key_id, rate, most, time.monotonic())
        if verdict.refusal is None:
            self._open[call_id] = key_id
            self._local.opened(key_id)
        return verdict

    async def end(self, call_id: str) -> None:
        """The call is over; one that never began is fine."""
        key_id = self._open.pop(call_id, None)
        if key_id is None:
            return
        self._local.closed(key_id)
        if self._usable():
            try:
                await self._connection.zrem(_calls(key_id), call_id)
            except _FAILURES as error:
                self._failed(error)

    def start(self) -> None:
        """Keeps the calls that are open counted, until `close`."""
        if self._redis is not None:
            self._renewing = asyncio.create_task(self._renew_forever(), name="throttle")

    async def close(self) -> None:
        """Closes the connections."""
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewing
        if self._redis is not None:
            await self._redis.aclose()

    async def _begin_shared(self, key_id: str, call_id: str, rate: float, most: int) -> Verdict | None:
        """The verdict of Redis; None without it."""
        if not self._usable():
            return None
        lease = int(CALL_LEASE_SECONDS * 1000)
        values: tuple[Any, ...] = (rate, _burst(rate), most, call_id, lease)
        try:
            answer = await self._connection.eval(_BEGIN, 2, _bucket(key_id), _calls(key_id), *values)
        except _FAILURES as error:
            self._failed(error)
            return None
        code, milliseconds = cast("list[int]", answer)
        if code == 0:
            return Verdict()
        if code == 1:
            return Verdict(Refusal.RATE, milliseconds / 1000)
        return Verdict(Refusal.CONCURRENCY, 1.0)

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for call_id, key_id in list(self._open.items()):
                if not self._usable():
                    break
                try:
                    await self._connection.eval(_RENEW, 1, _calls(key_id), call_id, int(CALL_LEASE_SECONDS * 1000))
                except _FAILURES as error:
                    self._failed(error)
                    break
                if call_id not in self._open:
                    # It ended meanwhile: what was written last must not count it for another lease.
                    with suppress(*_FAILURES):
                        await self._connection.zrem(_calls(key_id), call_id)

    @property
    def _connection(self) -> Any:
        return self._redis

    def _usable(self) -> bool:
        return self._redis is not None and time.monotonic() >= self._down_until

    def _failed(self, error: BaseException) -> None:
        log.warning("limits_counted_here", problem=type(error).__name__)
        self._down_until = time.monotonic() + DOWN_SECONDS


class LocalCounts:
    """The same limits, counted in this process."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}
        self._open: dict[str, int] = {}

    def begin(self, key_id: str, rate: float, most: int, now: float) -> Verdict:
        """Whether a call may begin at `now`, in seconds of a steady clock; takes a token if it may."""
        if most and self._open.get(key_id, 0) >= most:
            return Verdict(Refusal.CONCURRENCY, 1.0)
        if rate:
            burst = _burst(rate)
            tokens, before = self._buckets.get(key_id, (burst, now))
            tokens = min(burst, tokens + (now - before) * rate)
            if tokens < 1:
                return Verdict(Refusal.RATE, math.ceil((1 - tokens) * 1000 / rate) / 1000)
            self._buckets[key_id] = tokens - 1, now
        return Verdict()

    def opened(self, key_id: str) -> None:
        """A call of the key is open, wherever it was counted."""
        self._open[key_id] = self._open.get(key_id, 0) + 1

    def closed(self, key_id: str) -> None:
        """One less."""
        self._open[key_id] -= 1
        if not self._open[key_id]:
            del self._open[key_id]


def _burst(rate: float) -> float:
    return max(1.0, rate * BURST_SECONDS)


def _bucket(key_id: str) -> str:
    return f"likeness:rate:{key_id}"


def _calls(key_id: str) -> str:
    return f"likeness:calls:{key_id}"
