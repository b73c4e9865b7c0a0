"""Backends die while a loop needs them."""

from __future__ import annotations

import asyncio

import pytest

from likeness import AsyncClient, RetryPolicy, Unavailable
from reliability.deployment import Deployment
from tests.faults.faults import shows
from tests.faults.watching import TARGET, check_whole, followed, started

AWAY_SECONDS = 2.0


@shows(
    "SIGKILL of a backend: {part}",
    client_sees="a pause; health says NOT_SERVING until it is back; calls that need it get UNAVAILABLE after 10 s",
    retried="the call under way, by the gateway, for half a minute; only pictures and scores that are not stored yet",
    lost="denoising steps of pictures under way",
)
@pytest.mark.parametrize("part", ["generator", "scorer", "refiner"])
async def test_loop_waits_for_a_backend(deployment: Deployment, client: AsyncClient, part: str) -> None:
    session = await started(client)
    health: list[str] = []

    async def away_for_a_while() -> None:
        await deployment.kill(part)
        coming_back.append(asyncio.create_task(back()))

    async def back() -> None:
        await asyncio.sleep(AWAY_SECONDS)
        await deployment.gateways[0].wait_health("NOT_SERVING")
        health.append(await deployment.gateways[0].health(f"likeness.{part}.v1.{part.title()}Service"))
        await deployment.start(part)

    coming_back: list[asyncio.Task[None]] = []
    seen = await followed(client, session, away_for_a_while)
    await asyncio.gather(*coming_back)
    assert health == ["NOT_SERVING"]
    await check_whole(client, session, seen)
    await deployment.gateways[0].wait_health("SERVING")


@shows(
    "A backend that stays away: {part}",
    client_sees="UNAVAILABLE (BACKEND_UNAVAILABLE), never INTERNAL; stored pictures and sessions can still be read",
    retried="the call, by the gateway for 10 s",
    lost="nothing",
)
@pytest.mark.parametrize("part", ["generator", "scorer"])
async def test_calls_that_need_a_dead_backend_say_so(deployment: Deployment, client: AsyncClient, part: str) -> None:
    session = await client.create_session(TARGET)
    await deployment.kill(part)
    async with AsyncClient(deployment.address(), retry=RetryPolicy(attempts=1)) as impatient:
        with pytest.raises(Unavailable) as caught:
            if part == "generator":
                await impatient.generate("rgb 1 2 3")
            else:
                await impatient.score(TARGET, [TARGET])
        assert caught.value.reason == "BACKEND_UNAVAILABLE"
        assert (await impatient.get_session(session)).session.target == session.target
        assert await impatient.get_image_bytes(session.target) == TARGET
