"""Gateways that do not agree on what time it is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from likeness import AsyncClient
from reliability.clock import compiler, skewed
from reliability.deployment import Deployment, deployed
from reliability.invariants import audit
from reliability.loops import PATIENT
from tests.faults.conftest import OPTIONS
from tests.faults.faults import shows
from tests.faults.watching import check_whole, followed, started

SKEW = timedelta(hours=6)
ROUNDS, STEPS = 5, 40
"""Ten seconds of denoising: longer than a lease lasts."""


@pytest_asyncio.fixture(loop_scope="session")
async def disagreeing() -> AsyncIterator[Deployment]:
    """Two gateways, the first six hours behind, the second six hours ahead."""
    if compiler() is None:
        pytest.skip("moving the clock of a process needs a C compiler")
    with tempfile.TemporaryDirectory() as folder:
        clocks = [skewed(Path(folder), seconds) for seconds in (-int(SKEW.total_seconds()), int(SKEW.total_seconds()))]
        async with deployed(gateways=2, options=OPTIONS, environments=clocks) as deployment:
            yield deployment


@shows(
    "Clocks of two gateways twelve hours apart",
    client_sees="nothing: times are the database's, in the order of the events",
    retried="nothing",
    lost="nothing: no gateway takes a loop over before its lease has run out by the database's clock",
)
async def test_clocks_apart(disagreeing: Deployment) -> None:
    began = datetime.now(UTC)
    async with (
        AsyncClient(disagreeing.address(0), retry=PATIENT) as behind,
        AsyncClient(disagreeing.address(1), retry=PATIENT) as ahead,
    ):
        clocks = [_clock_of(disagreeing, one.name) for one in disagreeing.gateways]
        assert clocks[0] < began - SKEW / 2 and began + SKEW / 2 < clocks[1]
        # Each is watched at the gateway that does not run it, for longer than a lease lasts.
        for here, there in ((behind, ahead), (ahead, behind)):
            session = await started(here, rounds=ROUNDS, steps=STEPS)
            await check_whole(there, session, seen := await followed(there, session), rounds=ROUNDS)
            times = [event.create_time for event in seen]
            assert times == sorted(times) and began - SKEW / 6 < times[0] and times[-1] < began + SKEW / 6
        assert not [one for one in disagreeing.gateways if "run_taken_up" in disagreeing.log(one.name)]
        session = await started(behind)
        seen = await followed(ahead, session, lambda: disagreeing.kill("gateway-1"))
        await check_whole(ahead, session, seen)
    assert "run_taken_up" in disagreeing.log("gateway-2")
    assert not (await audit(disagreeing.database_url, disagreeing.objects)).broken


def _clock_of(deployment: Deployment, name: str) -> datetime:
    """What a gateway took for the present when it said that it was ready."""
    (ready,) = (line for line in deployment.log(name).splitlines() if '"event": "ready"' in line)
    return datetime.fromisoformat(json.loads(ready)["time"])
