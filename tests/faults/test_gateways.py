"""Gateways die while they work for somebody."""

from __future__ import annotations

import asyncio

import pytest

from likeness import AsyncClient, GeneratedImage, RetryPolicy, Unavailable
from reliability.deployment import Deployment
from tests.faults.faults import shows
from tests.faults.watching import check_whole, followed, started

IMPATIENT = RetryPolicy(attempts=1)


@shows(
    "SIGKILL of the gateway that runs a loop",
    client_sees="nothing: the watch goes on at another gateway, every event once and in order",
    retried="the step under way, by the gateway that takes the loop over when the lease has run out (6 s)",
    lost="at most the step under way, which is repeated; nothing that was stored",
)
async def test_loop_moves_to_the_other_gateway(deployment: Deployment, client: AsyncClient) -> None:
    session = await started(client)
    seen = await followed(client, session, lambda: deployment.kill("gateway-1"))
    assert deployment.parts["gateway-1"].process.returncode  # type: ignore[union-attr]
    await check_whole(client, session, seen)


@shows(
    "SIGKILL of a gateway while it streams pictures",
    client_sees="UNAVAILABLE on GenerateImages; the same request with the same request id gives the same pictures",
    retried="nothing by itself: only the caller knows whether it still wants the pictures",
    lost="the pictures of the call that had not arrived",
)
async def test_pictures_can_be_asked_for_again(deployment: Deployment, client: AsyncClient) -> None:
    asked = {"count": 3, "seed": 5, "steps": 40}
    kept: list[GeneratedImage] = []
    async with AsyncClient(deployment.address(), retry=IMPATIENT) as impatient:
        with pytest.raises(Unavailable):
            async for event in impatient.generate_events("rgb 1 2 3", **asked):  # type: ignore[arg-type]
                if isinstance(event, GeneratedImage):
                    kept.append(event)
                elif event.step:
                    await deployment.kill("gateway-1")
    again = await client.generate("rgb 1 2 3", **asked)  # type: ignore[arg-type]
    once_more = await client.generate("rgb 1 2 3", **asked)  # type: ignore[arg-type]
    assert [one.png for one in again] == [one.png for one in once_more] and len(again) == 3
    # What had arrived is among them.
    assert {one.png for one in kept} < {one.png for one in again}


@shows(
    "SIGKILL of every gateway",
    client_sees="calls and watches wait for a gateway (as long as their RetryPolicy says), then go on",
    retried="every call that only reads or carries a request id, by the SDK",
    lost="nothing that was stored",
)
async def test_all_gateways_die_and_come_back(deployment: Deployment, client: AsyncClient) -> None:
    session = await started(client)

    async def all_die() -> None:
        await asyncio.gather(*(deployment.kill(one.name) for one in deployment.gateways))
        coming_back.append(asyncio.create_task(deployment.start("gateway-2")))

    coming_back: list[asyncio.Task[None]] = []
    seen = await followed(client, session, all_die)
    await asyncio.gather(*coming_back)
    await check_whole(client, session, seen)
