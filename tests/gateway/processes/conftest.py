"""Two gateway processes on one database, with backends that take a known time; each test gets them whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from likeness import AsyncClient
from reliability.deployment import Deployment, deployed
from reliability.invariants import audit
from reliability.loops import PATIENT


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def shared() -> AsyncIterator[Deployment]:
    """The processes of all tests here."""
    async with deployed(gateways=2, options={"generator": ["--step-seconds", "0.05"]}) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="package")
async def deployment(shared: Deployment) -> AsyncIterator[Deployment]:
    """The processes, all alive; afterwards the database must be consistent."""
    await shared.mend()
    yield shared
    await shared.mend()
    assert not (await audit(shared.database_url, shared.objects)).broken


@pytest_asyncio.fixture(loop_scope="package")
async def client(deployment: Deployment) -> AsyncIterator[AsyncClient]:
    """A client of both gateways, the first preferred."""
    async with AsyncClient(deployment.address(0), retry=PATIENT) as one:
        yield one
