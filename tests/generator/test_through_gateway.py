"""The real servicer behind the gateway's: what the engine says of its queue reaches the caller of GenerateImages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from likeness.gateway.v1 import image_service_pb2 as pb
from likeness.gateway.v1.image_service_pb2_grpc import ImageServiceStub, add_ImageServiceServicer_to_server
from services.gateway.backends.clients import GeneratorClient
from services.gateway.generation import ImageGeneration
from services.gateway.loops.retry import RetryPolicy
from services.gateway.objects import LocalObjectStore
from services.gateway.rpc.generation_servicer import GenerationServicer
from services.gateway.rpc.interceptors import CallInterceptor
from services.gateway.store.database import Database
from services.gateway.store.images import ImageRepository
from services.generator.catalog import Catalog
from services.generator.domain import Priority
from services.generator.engine.base import Finished
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from services.generator.service import GeneratorService
from tests.gateway.failures import details_of, reason_of
from tests.gateway.unlimited import Unlimited
from tests.generator.engine.test_joining import called, read, unguided
from tests.generator.gate import Gate
from tests.generator.grpc_server import listen
from tests.generator.tiny import TINY, work

FULL = (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")


@pytest.fixture
async def images(tiny: LoadedModel, engine: StepEngine, tmp_path: Path) -> AsyncIterator[ImageServiceStub]:
    """A client of the gateway. Pictures are not kept: its database is never asked."""
    async with listen(GeneratorService(Catalog([TINY], {"tiny": tiny.known}, {}, ["tiny"]), engine)) as address:
        generator, objects = GeneratorClient(address), LocalObjectStore(tmp_path)
        repository = ImageRepository(Database("postgresql+asyncpg://127.0.0.1:1/none"), objects)
        generation = ImageGeneration(
            generator, repository, objects, Unlimited(), retry=RetryPolicy(), timeout_seconds=60
        )
        server = grpc.aio.server(interceptors=[CallInterceptor()])
        add_ImageServiceServicer_to_server(GenerationServicer(generation), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield ImageServiceStub(channel)
        await server.stop(None)
        await generator.close()


async def refusal(images: ImageServiceStub, timeout: float | None = None) -> grpc.aio.AioRpcError:
    """How a call for one picture fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await images.GenerateImages(pb.GenerateImagesRequest(prompt="x"), timeout=timeout).read()
    return caught.value


async def test_a_full_queue_tells_the_caller_when_to_come_back(
    images: ImageServiceStub, engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    running = engine.submit(work(tiny, *(unguided(str(index), 2) for index in range(4))))
    await called(gate, 1)
    waiting = engine.submit(work(tiny, *(unguided(str(index), 2) for index in range(8))))
    error = await refusal(images)
    assert reason_of(error) == FULL
    assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0
    gate.open()
    ends = [*await read(running), *await read(waiting)]
    assert sum(isinstance(event, Finished) for event in ends) == 12
    call = images.GenerateImages(pb.GenerateImagesRequest(prompt="x"))
    assert [event.WhichOneof("event") async for event in call][-1] == "image"


async def test_a_queue_longer_than_the_callers_deadline_refuses_at_once(
    images: ImageServiceStub, engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    # From now on a step is known to take a fifth of a second at least.
    first = engine.submit(work(tiny, unguided("first", 1)))
    await called(gate, 1)
    await asyncio.sleep(0.2)
    gate.let(1)
    await read(first)
    running = engine.submit(work(tiny, *(unguided(str(index), 200) for index in range(4))))
    await called(gate, 2)
    error = await refusal(images, timeout=20)
    assert reason_of(error) == FULL and "deadline" in (error.details() or "")
    assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() > 15_000
    assert engine.stats().waiting_items == 0
    running.cancel()
    gate.open()
    await read(running)


async def test_a_caller_passes_work_that_nobody_waits_for(
    images: ImageServiceStub, engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    running = engine.submit(work(tiny, *(unguided(str(index), 2) for index in range(4))))
    await called(gate, 1)
    batch = engine.submit(work(tiny, *(unguided(str(index), 2) for index in range(6))), priority=Priority.BATCH)
    events = aiter(images.GenerateImages(pb.GenerateImagesRequest(prompt="x", steps=2)))
    queued = await anext(events)
    assert queued.queued.items_ahead == 4, "those that run, and none that waits"
    gate.open()
    assert [event.WhichOneof("event") async for event in events][-1] == "image"
    await asyncio.gather(read(running), read(batch))
