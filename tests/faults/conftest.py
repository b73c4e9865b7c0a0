"""One deployment of real processes for all tests of this folder; each gets it whole, and what it broke is mended."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest
import pytest_asyncio

from likeness import AsyncClient
from reliability.deployment import Deployment, deployed
from reliability.invariants import audit
from reliability.loops import PATIENT
from tests.faults.faults import FAULTS, Fault

LOOP = pytest.mark.asyncio(loop_scope="session")
STEP_SECONDS = 0.05
OPTIONS = {"generator": ["--step-seconds", str(STEP_SECONDS)]}
"""Slow enough to be killed in the middle."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where to write what the tests showed."""
    parser.addoption("--fault-results", type=Path, help="file for a JSON list of the faults and whether they held")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder starts processes and shares one event loop."""
    for item in items:
        if "tests/faults" in item.nodeid:
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.timeout(420))
            if inspect.iscoroutinefunction(getattr(item, "obj", None)):
                item.add_marker(LOOP, append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Keeps the outcome of each test that shows a fault."""
    report = yield
    fault = FAULTS.get(getattr(item, "originalname", ""))
    if fault is not None and (report.when == "call" or report.skipped or report.failed):
        item.config.stash.setdefault(_OUTCOMES, {})[item.name] = (fault, report.outcome, round(report.duration, 1))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the outcomes where they were asked for."""
    path = session.config.getoption("--fault-results", None)
    if path is not None:
        outcomes = session.config.stash.get(_OUTCOMES, {})
        rows = [
            {"test": name, "outcome": outcome, "seconds": seconds, **asdict(fault)}
            for name, (fault, outcome, seconds) in outcomes.items()
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


_OUTCOMES = pytest.StashKey[dict[str, tuple[Fault, str, float]]]()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared() -> AsyncIterator[Deployment]:
    """Two gateways on one database."""
    async with deployed(gateways=2, options=OPTIONS) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def deployment(shared: Deployment) -> AsyncIterator[Deployment]:
    """The deployment, whole; afterwards it must be consistent."""
    await shared.mend()
    yield shared
    await shared.mend()
    found = await audit(shared.database_url, shared.objects)
    assert not found.broken


@pytest_asyncio.fixture(loop_scope="session")
async def client(deployment: Deployment) -> AsyncIterator[AsyncClient]:
    """A client of both gateways, the first preferred, that waits for them."""
    async with AsyncClient(deployment.address(), retry=PATIENT) as one:
        yield one
