"""Health from parts: grpc.health.v1 by service, /healthz and /metrics over HTTP, GetStatus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from likeness.gateway.v1 import catalog_service_pb2 as pb
from services.common import telemetry
from services.common.errors import DeadlineError, OverloadedError, Reason, UnavailableError
from services.gateway import health as module
from services.gateway.access.scopes import SCOPES
from services.gateway.health import CACHE, NEEDED, SERVICE_NEEDS, Health, HealthMonitor
from services.gateway.http import start_http

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
DOWN = UnavailableError(Reason.BACKEND_UNAVAILABLE, "gone")


class Parts:
    """Parts that a test breaks and mends."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.monitor = HealthMonitor({name: lambda name=name: self._check(name) for name in (*NEEDED, CACHE)})

    async def _check(self, name: str) -> None:
        if name in self.errors:
            raise self.errors[name]

    async def now(self, **errors: Exception) -> None:
        """Sets what is broken and checks."""
        self.errors = errors
        await self.monitor.check_now()


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest_asyncio.fixture
async def stub(parts: Parts) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(parts.monitor.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(None)


async def status(stub: health_pb2_grpc.HealthStub, service: str = "") -> int:
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=service))).status)


async def test_nothing_serves_before_it_was_checked(parts: Parts, stub: health_pb2_grpc.HealthStub) -> None:
    parts.errors = dict.fromkeys(NEEDED, DOWN)
    await parts.monitor.start()
    assert await status(stub) == NOT_SERVING
    assert await status(stub, "likeness.gateway.v1.CatalogService") == SERVING, "it needs nothing"
    await parts.monitor.stop()


async def test_services_follow_the_parts_that_they_need(parts: Parts, stub: health_pb2_grpc.HealthStub) -> None:
    await parts.now()
    assert await status(stub) == SERVING
    await parts.now(generator=DOWN)
    assert await status(stub) == NOT_SERVING
    assert await status(stub, "likeness.gateway.v1.SessionService") == NOT_SERVING
    assert await status(stub, "likeness.generator.v1.GeneratorService") == NOT_SERVING
    assert await status(stub, "likeness.scorer.v1.ScorerService") == SERVING
    assert await status(stub, "likeness.gateway.v1.ImageService") == SERVING
    await parts.now(database=DOWN)
    assert await status(stub, "likeness.gateway.v1.ImageService") == NOT_SERVING
    assert await status(stub, "likeness.generator.v1.GeneratorService") == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await status(stub, "no.such.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_lost_cache_degrades_and_goes_on_serving(parts: Parts, stub: health_pb2_grpc.HealthStub) -> None:
    await parts.now(cache=DOWN)
    assert await status(stub) == SERVING
    assert parts.monitor.overall() is Health.DEGRADED
    cache = next(one for one in parts.monitor.components() if one.component == CACHE)
    assert (cache.health, cache.detail) == (Health.DEGRADED, "gone")
    await parts.now()
    assert parts.monitor.overall() is Health.SERVING


async def test_a_busy_backend_serves(parts: Parts) -> None:
    await parts.now(scorer=OverloadedError(Reason.QUEUE_FULL, "full"))
    assert parts.monitor.overall() is Health.SERVING


async def test_a_slow_backend_is_given_time(parts: Parts) -> None:
    slow = DeadlineError(Reason.DEADLINE_EXCEEDED, "slow")
    await parts.now()
    for _ in range(module.SLOW_CHECKS_ALLOWED - 1):
        await parts.now(scorer=slow)
        assert parts.monitor.overall() is Health.SERVING
    await parts.now(scorer=slow)
    assert parts.monitor.overall() is Health.NOT_SERVING
    await parts.now()
    await parts.now(scorer=slow)
    assert parts.monitor.overall() is Health.SERVING, "one answer and the count begins anew"


async def test_a_check_that_breaks_does_not_end_the_monitor(parts: Parts) -> None:
    await parts.now(refiner=RuntimeError("defect"))
    assert parts.monitor.overall() is Health.NOT_SERVING
    detail = next(one.detail for one in parts.monitor.components() if one.component == "refiner")
    assert "defect" not in detail
    await parts.now()
    assert parts.monitor.overall() is Health.SERVING


async def test_draining_is_final(parts: Parts, stub: health_pb2_grpc.HealthStub) -> None:
    await parts.now()
    await parts.monitor.drain()
    assert parts.monitor.overall() is Health.NOT_SERVING
    await parts.now(generator=DOWN)
    await parts.now()
    assert await status(stub) == NOT_SERVING


async def test_the_monitor_finds_changes_by_itself(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_WHILE_DOWN_SECONDS", 0.01)
    parts.errors = {"generator": DOWN}
    await parts.monitor.start()
    async with asyncio.timeout(10):
        while "gone" not in {one.detail for one in parts.monitor.components()}:
            await asyncio.sleep(0.01)
        parts.errors = {}
        while parts.monitor.overall() is not Health.SERVING:
            await asyncio.sleep(0.01)
    await parts.monitor.stop()


async def test_http_tells_health_and_metrics(parts: Parts) -> None:
    telemetry.counter("likeness_gateway_http_test", "Of this test.").inc()
    server = await start_http(0, parts.monitor)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        async with session.get("/healthz") as response:
            assert response.status == 503
        await parts.now(cache=DOWN)
        async with session.get("/healthz") as response:
            assert response.status == 200
            body = await response.json()
        assert body["health"] == "degraded"
        assert body["components"]["cache"] == {"health": "degraded", "detail": "gone"}
        assert set(body["components"]) == {*NEEDED, CACHE}
        async with session.get("/metrics") as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == telemetry.METRICS_CONTENT_TYPE
            text = await response.text()
        assert "likeness_gateway_http_test_total 1.0" in text
        assert "likeness_gateway_component_up" in text
        async with session.get("/") as response:
            assert response.status == 404
    with pytest.raises(OSError):
        await start_http(server.port, parts.monitor)
    await server.close()


def test_every_health_has_a_proto_value() -> None:
    assert len(Health) == len(pb.Health.values()) - 1


def test_every_service_of_the_gateway_can_be_asked_for_by_name() -> None:
    assert set(SCOPES) <= set(SERVICE_NEEDS)
