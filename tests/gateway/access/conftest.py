"""A gateway that requires keys, on real stores, and calls with keys."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.cluster.redis_server import RedisServer
from services.cluster.state import make_run_dir
from services.gateway.access import throttle
from tests.gateway.access.keys import Keys
from tests.gateway.conftest import Gateway, Parts, clear, running


@pytest_asyncio.fixture
async def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisServer]:
    """A Redis of this test. It is not given up because the machine is busy."""
    monkeypatch.setattr(throttle, "SOCKET_TIMEOUT_SECONDS", 60.0)
    run_dir = make_run_dir()
    server = RedisServer(run_dir, tmp_path / "redis.log")
    await server.start()
    yield server
    await server.stop()
    shutil.rmtree(run_dir)


@pytest.fixture
async def closed(database_url: str) -> AsyncIterator[Gateway]:
    """A gateway that requires keys."""
    async with running(database_url, Parts(), require_keys=True) as gateway:
        yield gateway
    await clear(database_url)


@pytest.fixture
def keys(closed: Gateway) -> Keys:
    """Makes keys for it."""
    return Keys(closed.server)
