"""Backends at the seam, and one home whose database is made once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.cluster.running import home_folder
from tests.gateway_io.seam import Backends, running_backends


@pytest_asyncio.fixture
async def backends() -> AsyncIterator[Backends]:
    """The three backends behind one port."""
    async with running_backends() as running:
        yield running


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A home that tests use one after another, as a user does."""
    with home_folder() as folder:
        yield folder


@pytest.fixture
def new_home() -> Iterator[Path]:
    """A home of this test."""
    with home_folder() as folder:
        yield folder
