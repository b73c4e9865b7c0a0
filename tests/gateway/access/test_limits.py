"""Limits of keys and quotas of tenants, on real stores, with several gateways and without Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from likeness.gateway.v1 import admin_service_pb2, image_service_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.gateway.v1.admin_service_pb2_grpc import AdminServiceStub
from likeness.types.v1 import image_pb2
from services.cluster.redis_server import RedisServer
from services.common.errors import OverloadedError, Reason
from services.gateway.access.caller import Scope
from services.gateway.access.limits import TenantLimits
from services.gateway.access.throttle import LocalCounts, Refusal, Throttle
from tests.gateway.access.keys import Keys, Metadata, refusal
from tests.gateway.conftest import TARGET, Gateway, Parts, clear, running
from tests.gateway.failures import details_of

pytestmark = pytest.mark.integration

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
LIST = pb.ListSessionsRequest()
# So slow that no token comes back while a test runs: two calls at most, whatever the machine does meanwhile.
RARELY = 0.001


async def test_rate_is_shared_by_gateways(database_url: str, redis: RedisServer) -> None:
    settings: dict[str, Any] = {"require_keys": True, "redis_url": redis.url, "key_requests_per_second": 1.0}
    async with running(database_url, Parts(), **settings) as one, running(database_url, Parts(), **settings) as other:
        key = await Keys(one.server).make()
        admin = await Keys(one.server).make("ops", Scope.ADMIN)
        await set_limits(one, admin, requests_per_second=RARELY)
        await one.stub.ListSessions(LIST, metadata=key)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await other.stub.ListSessions(LIST, metadata=key)
        details = details_of(caught.value)
        assert caught.value.code() is EXHAUSTED and details["ErrorInfo"].reason == "RATE_LIMITED"
        assert details["QuotaFailure"].violations[0].subject == f"key:{key_id(key)}"
        assert details["RetryInfo"].retry_delay.seconds > 600
        # Another key of the same tenant has a count of its own.
        await other.stub.ListSessions(LIST, metadata=await Keys(one.server).make())
    await clear(database_url)


async def test_open_calls_are_shared_by_gateways_and_end_with_the_call(database_url: str, redis: RedisServer) -> None:
    settings: dict[str, Any] = {"require_keys": True, "redis_url": redis.url, "key_concurrent_calls": 1}
    async with running(database_url, Parts(), **settings) as one, running(database_url, Parts(), **settings) as other:
        key = await Keys(one.server).make()
        created = await one.stub.CreateSession(
            pb.CreateSessionRequest(target=image_pb2.Image(data=TARGET)), metadata=key
        )
        watch = one.stub.WatchSession(pb.WatchSessionRequest(name=created.session.name), metadata=key)
        await watch.read()
        assert await refusal(other.stub.ListSessions(LIST, metadata=key)) == (EXHAUSTED, "TOO_MANY_CALLS")
        watch.cancel()
        await _until_allowed(other, key)
    await clear(database_url)


async def test_limits_hold_on_without_redis(database_url: str, redis: RedisServer) -> None:
    settings: dict[str, Any] = {"require_keys": True, "redis_url": redis.url, "key_requests_per_second": RARELY}
    async with running(database_url, Parts(), **settings) as gateway:
        await redis.stop()
        key = await Keys(gateway.server).make()
        await gateway.stub.ListSessions(LIST, metadata=key)
        assert await refusal(gateway.stub.ListSessions(LIST, metadata=key)) == (EXHAUSTED, "RATE_LIMITED")
        await redis.start()
    await clear(database_url)


async def test_open_calls_of_a_gateway_that_died_are_forgotten(redis: RedisServer) -> None:
    dead, alive = Throttle(redis.url), Throttle(redis.url)
    limits = TenantLimits(concurrent_calls=1)
    assert (await dead.begin("k", "c1", limits)).refusal is None
    assert (await alive.begin("k", "c2", limits)).refusal is Refusal.CONCURRENCY
    # As long as its lease later: the score of an open call is the time at which it ends.
    await dead._connection.zadd("likeness:calls:k", {"c1": 1.0})
    assert (await alive.begin("k", "c2", limits)).refusal is None
    await dead.close()
    await alive.close()


def test_bucket_fills_at_its_rate_and_no_further_than_its_size() -> None:
    counts = LocalCounts()
    taken = [counts.begin("k", 8.0, 0, 100.0).refusal for _ in range(17)]
    assert taken == [None] * 16 + [Refusal.RATE]
    refused = counts.begin("k", 8.0, 0, 100.0625)
    assert refused.refusal is Refusal.RATE and refused.retry_after_seconds == pytest.approx(0.0625, abs=0.001)
    assert counts.begin("k", 8.0, 0, 100.125).refusal is None
    assert [counts.begin("k", 8.0, 0, 9999.0).refusal for _ in range(17)].count(None) == 16


@pytest.mark.usefixtures("one_day")
async def test_images_of_a_day(closed: Gateway, keys: Keys) -> None:
    admin, key = await keys.make("ops", Scope.ADMIN), await keys.make()
    await set_limits(closed, admin, images_per_day=3)
    assert len(await generate(closed, key, count=2)) == 2
    refused = closed.images.GenerateImages(image_service_pb2.GenerateImagesRequest(prompt="x", count=2), metadata=key)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await refused.read()
    details = details_of(caught.value)
    assert details["ErrorInfo"].reason == "QUOTA_EXCEEDED"
    assert details["QuotaFailure"].violations[0].subject == "tenant:acme"
    assert 0 < details["RetryInfo"].retry_delay.ToSeconds() <= 86_400
    # Nothing was counted, so the third picture is still there, and other tenants have their own.
    assert len(await generate(closed, key, count=1)) == 1
    assert len(await generate(closed, await keys.make("beta"), count=4)) == 4
    state = await limits_of(closed, admin)
    assert state.usage.images == 3 and state.usage.megapixels > 0 and state.effective.images_per_day == 3


async def test_pictures_that_the_generator_refused_are_not_counted(closed: Gateway, keys: Keys) -> None:
    admin, key = await keys.make("ops", Scope.ADMIN), await keys.make()
    closed.parts.generator.failures.append(OverloadedError(Reason.QUEUE_FULL, "full", retry_after_seconds=1.0))
    call = closed.images.GenerateImages(image_service_pb2.GenerateImagesRequest(prompt="x", count=2), metadata=key)
    assert await refusal(call.read()) == (EXHAUSTED, "QUEUE_FULL")
    assert (await limits_of(closed, admin)).usage.images == 0


@pytest.mark.usefixtures("one_day")
async def test_pixels_of_a_day(closed: Gateway, keys: Keys) -> None:
    admin, key = await keys.make("ops", Scope.ADMIN), await keys.make()
    await set_limits(closed, admin, megapixels_per_day=0.000001)
    await generate(closed, key, count=1)
    call = closed.images.GenerateImages(image_service_pb2.GenerateImagesRequest(prompt="x"), metadata=key)
    assert await refusal(call.read()) == (EXHAUSTED, "QUOTA_EXCEEDED")


@pytest.mark.usefixtures("one_day")
async def test_loop_ends_when_the_quota_does(closed: Gateway, keys: Keys) -> None:
    admin, key = await keys.make("ops", Scope.ADMIN), await keys.make()
    await set_limits(closed, admin, images_per_day=3)
    create = pb.CreateSessionRequest(target=image_pb2.Image(data=TARGET))
    name = (await closed.stub.CreateSession(create, metadata=key)).session.name
    await closed.stub.StartLoop(pb.StartLoopRequest(name=name), metadata=key)
    watch = pb.WatchSessionRequest(name=name, until_idle=True)
    assert [one async for one in closed.stub.WatchSession(watch, metadata=key)]
    found = await closed.stub.GetSession(pb.GetSessionRequest(name=name), metadata=key)
    # Rounds of two: the second would need a fourth picture.
    assert found.session.error.reason == "QUOTA_EXCEEDED" and found.session.round_count == 1
    assert (await limits_of(closed, admin)).usage.images == 2


@pytest.mark.parametrize("limits", [{"concurrent_calls": -1}, {"requests_per_second": float("nan")}])
async def test_bad_limits(gateway: Gateway, limits: dict[str, Any]) -> None:
    request = admin_service_pb2.SetTenantLimitsRequest(
        tenant_id="acme", limits=admin_service_pb2.TenantLimits(**limits)
    )
    refused = await refusal(AdminServiceStub(gateway.channel).SetTenantLimits(request))
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", f"limits.{next(iter(limits))}")


async def set_limits(gateway: Gateway, admin: Metadata, **limits: Any) -> None:
    """Limits of acme; the gateways' caches learn of it by notification."""
    body = admin_service_pb2.TenantLimits(**limits)
    request = admin_service_pb2.SetTenantLimitsRequest(tenant_id="acme", limits=body)
    await AdminServiceStub(gateway.channel).SetTenantLimits(request, metadata=admin)


async def limits_of(gateway: Gateway, admin: Metadata) -> admin_service_pb2.GetTenantLimitsResponse:
    """Limits and usage of acme."""
    request = admin_service_pb2.GetTenantLimitsRequest(tenant_id="acme")
    return await AdminServiceStub(gateway.channel).GetTenantLimits(request, metadata=admin)


async def generate(gateway: Gateway, key: Metadata, *, count: int) -> list[Any]:
    """Pictures from a prompt."""
    request = image_service_pb2.GenerateImagesRequest(prompt="rgb 1 2 3", count=count)
    return [one async for one in gateway.images.GenerateImages(request, metadata=key) if one.HasField("image")]


def key_id(key: Metadata) -> str:
    """Id of a sent key."""
    return key[0][1].split("_")[1]


async def _until_allowed(gateway: Gateway, key: Metadata) -> None:
    """Cancelling reaches the server in its own time; the test's timeout bounds the wait."""
    while True:
        try:
            await gateway.stub.ListSessions(LIST, metadata=key)
            return
        except grpc.aio.AioRpcError as error:
            assert error.code() is EXHAUSTED
        await asyncio.sleep(0.02)
