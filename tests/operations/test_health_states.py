"""What grpc.health.v1, /healthz and GetStatus say of a real gateway in each state."""

from __future__ import annotations

import asyncio
import signal

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from likeness import AsyncClient, Health
from reliability.deployment import BACKENDS, Deployment
from services.gateway.health import SERVICE_NEEDS

SERVICES = [service for service in SERVICE_NEEDS if service]


async def said(deployment: Deployment) -> dict[str, bool]:
    """Whether each service is SERVING."""
    gateway = deployment.gateways[0]
    return {service: await gateway.health(service) == "SERVING" for service in SERVICE_NEEDS}


async def healthz(deployment: Deployment) -> tuple[int, str]:
    """Status code and word of /healthz."""
    port = deployment.gateways[0].environment["LIKENESS_HTTP_PORT"]
    url = f"http://127.0.0.1:{port}/healthz"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, (await answer.json())["health"]


async def status(deployment: Deployment) -> tuple[Health, set[str]]:
    """The whole, and the parts that are not well, by GetStatus."""
    async with AsyncClient(deployment.gateways[0].address) as client:
        answer = await client.status()
    return answer.health, {part.component for part in answer.components if part.health is not Health.SERVING}


async def test_ready(deployment: Deployment) -> None:
    assert all((await said(deployment)).values())
    assert await healthz(deployment) == (200, "serving")
    assert await status(deployment) == (Health.SERVING, set())


@pytest.mark.parametrize(("process", "part"), [*((name, name) for name in BACKENDS), ("postgres", "database")])
async def test_a_part_is_down_and_comes_back(deployment: Deployment, process: str, part: str) -> None:
    await deployment.kill(process)
    await deployment.gateways[0].wait_health("NOT_SERVING")
    assert await said(deployment) == {service: part not in needs for service, needs in SERVICE_NEEDS.items()}
    assert await healthz(deployment) == (503, "not_serving")
    assert await status(deployment) == (Health.NOT_SERVING, {part})
    await deployment.start(process)
    await deployment.gateways[0].wait_health("SERVING")
    assert all((await said(deployment)).values())


async def test_a_lost_cache_leaves_it_ready(deployment: Deployment) -> None:
    await deployment.kill("redis")
    async with asyncio.timeout(60):
        while await healthz(deployment) != (200, "degraded"):
            await asyncio.sleep(0.1)
    assert all((await said(deployment)).values()), "slower, and load balancers go on sending"
    assert await status(deployment) == (Health.DEGRADED, {"cache"})
    await deployment.start("redis")
    async with asyncio.timeout(60):
        while await healthz(deployment) != (200, "serving"):
            await asyncio.sleep(0.1)


async def test_starting_without_a_backend_is_never_ready(deployment: Deployment) -> None:
    gateway = deployment.gateways[0]
    await deployment.kill("scorer")
    await deployment.kill(gateway.name)
    await gateway.start()
    assert await gateway.health() == "NOT_SERVING"
    assert await gateway.health("likeness.gateway.v1.CatalogService") == "SERVING", "alive: it can say how it is"
    assert (await status(deployment))[0] is Health.NOT_SERVING
    await deployment.start("scorer")
    await gateway.wait_health("SERVING")


async def test_draining_says_so_until_the_end(deployment: Deployment) -> None:
    gateway = deployment.gateways[0]
    assert gateway.process is not None
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watched = {service: stub.Watch(health_pb2.HealthCheckRequest(service=service)) for service in ("", *SERVICES)}
        for call in watched.values():
            assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
        gateway.process.send_signal(signal.SIGTERM)
        for call in watched.values():
            assert (await call.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            call.cancel()
    async with asyncio.timeout(30):
        assert await gateway.process.wait() == 0
