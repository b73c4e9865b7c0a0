"""One deployment of real processes for all tests of this folder; each gets it whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from likeness import AsyncClient, Health
from reliability.deployment import Deployment, deployed
from tests.collector import Collector

LOOP = pytest.mark.asyncio(loop_scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder starts processes and shares one event loop."""
    for item in items:
        if "tests/operations" in item.nodeid:
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.timeout(420))
            item.add_marker(LOOP, append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(collector: Collector) -> AsyncIterator[Deployment]:
    """One gateway, which traces, and everything that it needs."""
    environment = {"LIKENESS_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "500"}
    async with deployed(environments=[environment]) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def deployment(shared: Deployment) -> AsyncIterator[Deployment]:
    """The deployment, whole; also its cache, without which it serves."""
    await shared.mend()
    async with AsyncClient(shared.address()) as client:
        while (await client.status()).health is not Health.SERVING:
            await asyncio.sleep(0.1)
    yield shared
