"""Backends at the seam, and one home whose database is made once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.gateway_io.seam import Backends, running_backends


@pytest_asyncio.fixture
async def backends() -> AsyncIterator[Backends]:
    """The three backends behind one port."""
    async with running_backends() as running:
        yield running


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that tests use one after another, as a user does."""
    return tmp_path_factory.mktemp("home")
