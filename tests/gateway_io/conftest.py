"""Backends at the seam for every test, a real Redis for those that ask for it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.cluster.redis_server import RedisServer
from services.cluster.state import make_run_dir
from services.gateway import cache
from tests.gateway_io.seam import Backends, running_backends


@pytest_asyncio.fixture
async def backends() -> AsyncIterator[Backends]:
    """The three backends behind one port."""
    async with running_backends() as running:
        yield running


@pytest_asyncio.fixture
async def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisServer]:
    """A Redis of this test; it may be stopped and started again. It is not given up because the machine is busy."""
    monkeypatch.setattr(cache, "SOCKET_TIMEOUT_SECONDS", 60.0)
    run_dir = make_run_dir()
    server = RedisServer(run_dir, tmp_path / "redis.log")
    await server.start()
    yield server
    await server.stop()
    shutil.rmtree(run_dir)
