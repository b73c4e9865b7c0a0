"""Clients that read slowly, vanish, or send everything twice."""

from __future__ import annotations

import asyncio
import signal
import sys

import grpc
import psutil
import pytest

from likeness import AsyncClient, GeneratedImage, SessionState
from likeness.gateway.v1 import image_service_pb2 as image_pb
from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.gateway.v1.image_service_pb2_grpc import ImageServiceStub
from likeness.gateway.v1.session_service_pb2_grpc import SessionServiceStub
from likeness.types.v1 import image_pb2
from reliability.deployment import Deployment
from services.common.profile import ROOT
from services.common.settings import MEBIBYTE
from tests.faults.faults import shows
from tests.faults.watching import TARGET, check_whole, followed, started

SLOW_CALLS, PICTURES = 12, 16
SIDE_PIXELS = 128
MOST_GROWTH_MIB = 64
"""Of a gateway whose callers do not read: what gRPC buffers for each, far less than would pile up."""
VANISHING = """
import os, signal, sys
from likeness import Client
for event in Client(sys.argv[1]).generate_events("rgb 1 2 3", count=16, steps=50):
    if getattr(event, "step", 0) >= 2:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@shows(
    "Clients that do not read",
    client_sees="every picture once it reads, of progress only the newest; other clients notice nothing",
    retried="nothing",
    lost="progress that was replaced by newer progress; the gateway's memory stays flat",
)
async def test_slow_readers_hold_back_only_themselves(deployment: Deployment, client: AsyncClient) -> None:
    gateway = deployment.gateways[0]
    assert gateway.process is not None
    memory = psutil.Process(gateway.process.pid).memory_info
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        stub, before = ImageServiceStub(channel), memory().rss
        request = image_pb.GenerateImagesRequest(
            prompt="rgb 9 9 9", count=PICTURES, seed=1, width_pixels=SIDE_PIXELS, height_pixels=SIDE_PIXELS, steps=2
        )
        calls = [stub.GenerateImages(request, timeout=120) for _ in range(SLOW_CALLS)]
        streams = [aiter(call) for call in calls]
        for stream in streams:
            await anext(stream)
        # Meanwhile a loop of somebody else has nothing to wait for but the slots of the generator.
        session = await started(client, rounds=1)
        await check_whole(client, session, await followed(client, session), rounds=1)
        assert (memory().rss - before) / MEBIBYTE < MOST_GROWTH_MIB
        for stream in streams:
            events = [event async for event in stream]
            assert sum(event.HasField("image") for event in events) == PICTURES
        assert (memory().rss - before) / MEBIBYTE < MOST_GROWTH_MIB


@shows(
    "A client vanishes in mid-stream (SIGKILL)",
    client_sees="-",
    retried="nothing",
    lost="its pictures: the denoising stops at the next step, and its places in the queue are free",
)
async def test_vanished_client_leaves_no_work_behind(deployment: Deployment, client: AsyncClient) -> None:
    command = [sys.executable, "-c", VANISHING, deployment.address()]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    assert await process.wait() == -signal.SIGKILL
    async with asyncio.timeout(30):
        while True:
            # Alone with the generator, a picture finds nobody ahead of it.
            async for event in client.generate_events("rgb 1 2 3", steps=1):
                if isinstance(event, GeneratedImage):
                    continue
                ahead = event.items_ahead
                break
            if not ahead:
                return


@shows(
    "A client vanishes while its loop runs",
    client_sees="on its return: the whole log, from any cursor, at any gateway",
    retried="nothing",
    lost="nothing: the loop goes on without anybody watching",
)
async def test_loop_outlives_its_watcher(deployment: Deployment, client: AsyncClient) -> None:
    session = await started(client)
    async for event in client.watch(session):
        if event.sequence:
            break
    async with AsyncClient(deployment.address(1)) as elsewhere:
        await check_whole(elsewhere, session, await followed(elsewhere, session))


@shows(
    "Requests delivered twice, to two gateways at once",
    client_sees="the same answer twice; ALREADY_EXISTS (REQUEST_ID_REUSED) if the bodies differ",
    retried="-",
    lost="nothing, and nothing is done twice",
)
async def test_duplicate_delivery(deployment: Deployment, client: AsyncClient) -> None:
    channels = [grpc.aio.insecure_channel(one.address) for one in deployment.gateways]
    stubs = [SessionServiceStub(channel) for channel in channels]
    try:
        for number in range(5):
            request_id = f"00000000-0000-4000-8000-{number:012d}"
            create = pb.CreateSessionRequest(target=image_pb2.Image(data=TARGET), request_id=request_id)
            sessions = await asyncio.gather(*(stub.CreateSession(create) for stub in (*stubs, *stubs)))
            assert len({answer.SerializeToString() for answer in sessions}) == 1
            name = sessions[0].session.name
            settings = session_pb2.LoopSettings(rounds=1, candidates=2)
            start = pb.StartLoopRequest(name=name, settings=settings, request_id=request_id.replace("8000", "9000"))
            begun = await asyncio.gather(*(stub.StartLoop(start) for stub in (*stubs, *stubs)))
            assert {answer.session.state for answer in begun} == {session_pb2.Session.STATE_RUNNING}
            seen = await followed(client, name)  # type: ignore[arg-type]
            details = await client.get_session(name)
            assert details.session.state is SessionState.SUCCEEDED
            assert len(details.rounds) == 1 and len(details.rounds[0].candidates) == 2
            assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
            create.display_name = "another"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stubs[number % 2].CreateSession(create)
            assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        listed = [session.name async for session in client.list_sessions()]
        assert len(set(listed)) == len(listed)
    finally:
        for channel in channels:
            await channel.close()
