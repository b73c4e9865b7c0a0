"""PostgreSQL, Redis and the object store go away and come back."""

from __future__ import annotations

import asyncio
import time

import pytest

from likeness import AsyncClient, Health, RetryPolicy, Unavailable
from reliability.deployment import Deployment
from tests.faults.faults import shows
from tests.faults.watching import TARGET, check_whole, followed, started

AWAY_SECONDS = 10.0
ONCE = RetryPolicy(attempts=1)


@shows(
    "SIGKILL of PostgreSQL, away for 10 s",
    client_sees="UNAVAILABLE (DATABASE_UNAVAILABLE) with RetryInfo, never INTERNAL; watches go on by themselves",
    retried="reads and calls with a request id, by the SDK; loops are taken up again from what is stored",
    lost="the step under way, which is repeated; every commit is kept",
)
async def test_database_is_away_for_a_while(deployment: Deployment, client: AsyncClient) -> None:
    session = await started(client)
    refused: list[Unavailable] = []

    async def away_for_a_while() -> None:
        await deployment.kill("postgres")
        back = time.monotonic() + AWAY_SECONDS
        await deployment.gateways[0].wait_health("NOT_SERVING")
        async with AsyncClient(deployment.address(), retry=ONCE) as impatient:
            while not refused or time.monotonic() < back:
                with pytest.raises(Unavailable) as caught:
                    await impatient.get_session(session)
                refused.append(caught.value)
                await asyncio.sleep(0.5)
        await deployment.start("postgres")

    seen = await followed(client, session, away_for_a_while)
    assert {one.reason for one in refused} == {"DATABASE_UNAVAILABLE"}
    assert all(one.retry_after_seconds for one in refused)
    await check_whole(client, session, seen)
    await deployment.gateways[0].wait_health("SERVING")


@shows(
    "PostgreSQL is killed again and again under load",
    client_sees="the same, and no call ends with INTERNAL in the moments in which it starts and recovers",
    retried="as above",
    lost="nothing that was stored",
)
async def test_database_dies_several_times_under_calls(deployment: Deployment) -> None:
    stop = asyncio.Event()
    reasons: list[str] = []

    async def ask() -> None:
        async with AsyncClient(deployment.address(), retry=ONCE) as impatient:
            while not stop.is_set():
                try:
                    session = await impatient.create_session(TARGET)
                    await impatient.delete_session(session)
                except Unavailable as error:
                    reasons.append(error.reason)
                await asyncio.sleep(0.02)

    callers = [asyncio.create_task(ask()) for _ in range(4)]
    for _ in range(3):
        await asyncio.sleep(1)
        before = len(reasons)
        await deployment.kill("postgres")
        while len(reasons) == before:
            await asyncio.sleep(0.1)
        await deployment.start("postgres")
    await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*callers)
    assert set(reasons) == {"DATABASE_UNAVAILABLE"}


@shows(
    "SIGKILL of Redis",
    client_sees="nothing but longer answers; GetStatus says DEGRADED, health stays SERVING",
    retried="embeddings are computed instead of found",
    lost="cached embeddings",
)
async def test_cache_is_away(deployment: Deployment, client: AsyncClient) -> None:
    before = await client.score(TARGET, [TARGET])
    await deployment.kill("redis")
    assert await client.score(TARGET, [TARGET]) == before
    async with asyncio.timeout(30):
        while (await client.status()).health is not Health.DEGRADED:
            await asyncio.sleep(0.1)
    assert await deployment.gateways[0].health() == "SERVING"
    session = await started(client, rounds=1)
    seen = await followed(client, session)
    await check_whole(client, session, seen, rounds=1)
    await deployment.start("redis")
    async with asyncio.timeout(30):
        while (await client.status()).health is not Health.SERVING:
            await asyncio.sleep(0.1)
    assert await client.score(TARGET, [TARGET]) == before
