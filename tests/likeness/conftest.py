"""A gateway and clients for the tests of the client package."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from likeness import AsyncClient, Client, RetryPolicy
from tests.likeness.gateway.server import TestGateway
from tests.likeness.gateway.story import png, target_picture

QUICK = RetryPolicy(initial_delay_seconds=0.01, max_delay_seconds=0.2, reconnect_seconds=20)


@pytest.fixture
def gateway() -> Iterator[TestGateway]:
    server = TestGateway()
    yield server
    server.close()


@pytest.fixture
def client(gateway: TestGateway) -> Iterator[Client]:
    with Client(gateway.address, retry=QUICK, timeout_seconds=20) as opened:
        yield opened


@pytest.fixture
async def async_client(gateway: TestGateway) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(gateway.address, retry=QUICK, timeout_seconds=20) as opened:
        yield opened


@pytest.fixture
def target() -> bytes:
    """A small PNG."""
    return png(target_picture())


@pytest.fixture
def target_file(tmp_path: Path, target: bytes) -> Path:
    path = tmp_path / "target.png"
    path.write_bytes(target)
    return path
