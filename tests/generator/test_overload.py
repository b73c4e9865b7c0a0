"""A full queue refuses, a slow reader costs no memory, and every place comes back."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest

from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.generator.domain import ItemRequest
from services.generator.engine.base import StepDone
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from tests.generator.gate import Gate
from tests.generator.grpc_server import events, item, pngs, request
from tests.generator.tiny import work


async def test_a_full_queue_answers_resource_exhausted_with_a_time_to_come_back(
    stub: rpc.GeneratorServiceStub, engine: StepEngine, gate: Gate
) -> None:
    running = stub.Generate(request(item("a")))
    async for answer in running:
        if answer.HasField("started"):
            break
    waiting = asyncio.create_task(events(stub, *(item(str(index)) for index in range(8))))
    while engine.stats().waiting_items < 8:
        await asyncio.sleep(0.001)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await events(stub, item("x"))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    detail = json.loads(refused.value.details() or "")
    assert detail["reason"] == "QUEUE_FULL" and detail["retry_after_seconds"] > 0
    gate.open()
    assert len(pngs(await waiting)) == 8
    assert len(pngs(await events(stub, item("x")))) == 1
    assert engine.stats().waiting_items == 0


async def test_a_reader_that_sleeps_holds_one_step_event_and_misses_no_other(
    engine: StepEngine, tiny: LoadedModel
) -> None:
    submission = engine.submit(work(tiny, ItemRequest("a", "x", 1, steps=20), ItemRequest("b", "x", 1, steps=20)))
    while engine.stats().running_items + engine.stats().waiting_items:
        await asyncio.sleep(0.005)
    unread = [event async for event in submission.events()]
    for name in "ab":
        mine = [event for event in unread if event.item_id == name]
        assert [type(event).__name__ for event in mine] == ["Queued", "Started", "StepDone", "Finished"]
        assert isinstance(mine[2], StepDone) and mine[2].step == 20


async def test_many_calls_at_once_all_get_their_own_picture(stub: rpc.GeneratorServiceStub) -> None:
    answers = await asyncio.gather(*(events(stub, item("a", seed=seed, steps=2)) for seed in range(8)))
    assert len({pngs(answer)["a"] for answer in answers}) == 8
