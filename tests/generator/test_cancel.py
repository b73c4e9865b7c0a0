"""Cancellation between denoising steps: by item, by call, while waiting, and by closing the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.common.errors import CancelledError, Reason, UnavailableError
from services.generator.domain import ItemRequest
from services.generator.engine.base import EngineEvent, Failed, Finished, Started, StepDone
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from tests.generator.gate import Gate
from tests.generator.grpc_server import item, request
from tests.generator.tiny import work


async def test_a_cancelled_item_ends_before_its_next_step_and_its_mate_goes_on(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    submission = engine.submit(work(tiny, ItemRequest("a", "x", 1), ItemRequest("b", "x", 2)))
    events = submission.events()
    for step in (1, 2):
        # One by one: a newer event takes the place of an unread one, so that b's second step could come before a's.
        gate.let(1)
        await _read_until(events, lambda event, step=step: event == StepDone("b", step, 4, _seconds(event)))
    await _calls(gate, 3)
    submission.cancel("a")
    gate.open()
    rest = [event async for event in events]
    assert [event for event in rest if event.item_id == "a"] == [rest[0]]
    assert isinstance(rest[0], Failed) and isinstance(rest[0].error, CancelledError)
    assert rest[0].error.reason is Reason.CANCELLED
    assert isinstance(rest[-1], Finished) and rest[-1].item_id == "b"
    assert gate.calls == 4


async def test_the_denoiser_stops_when_every_item_of_the_batch_is_cancelled(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    submission = engine.submit(work(tiny, ItemRequest("a", "x", 1, steps=200), ItemRequest("b", "x", 2, steps=200)))
    events = submission.events()
    gate.let(1)
    await _read_until(events, lambda event: isinstance(event, StepDone) and event.item_id == "b")
    await _calls(gate, 2)
    submission.cancel()
    gate.open()
    rest = [event async for event in events]
    assert [(type(event), event.item_id) for event in rest] == [(Failed, "a"), (Failed, "b")]
    assert gate.calls == 2


async def test_a_waiting_item_is_cancelled_without_waiting_for_the_running_batch(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    running = engine.submit(work(tiny, ItemRequest("a", "x", 1, steps=200))).events()
    await _read_until(running, lambda event: isinstance(event, Started))
    waiting = engine.submit(work(tiny, ItemRequest("b", "x", 1)))
    waiting.cancel()
    gate.let(1)
    kinds = [type(event).__name__ async for event in waiting.events()]
    assert kinds == ["Queued", "Failed"]
    assert engine.stats().running_items == 1 and engine.stats().waiting_items == 0
    assert gate.calls <= 2


async def test_closing_the_engine_ends_running_and_waiting_items(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    running = engine.submit(work(tiny, ItemRequest("a", "x", 1, steps=200))).events()
    await _read_until(running, lambda event: isinstance(event, Started))
    waiting = engine.submit(work(tiny, ItemRequest("b", "x", 1, steps=2))).events()
    closing = asyncio.create_task(asyncio.to_thread(engine.close))
    while engine.is_alive():
        await asyncio.sleep(0.001)
    gate.open()
    await closing
    for events in (running, waiting):
        last = [event async for event in events][-1]
        assert isinstance(last, Failed) and last.error.reason is Reason.BACKEND_UNAVAILABLE
    assert gate.calls == 1
    with pytest.raises(UnavailableError):
        engine.submit(work(tiny, ItemRequest("c", "x", 1)))


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_call_that_ends_early_stops_the_denoiser(
    stub: rpc.GeneratorServiceStub, engine: StepEngine, gate: Gate, how: str
) -> None:
    call = stub.Generate(request(item("a", steps=200), item("b", steps=2)), timeout=0.5 if how == "deadline" else 30)
    gate.let(1)
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        async for answer in call:
            if answer.HasField("step") and how == "cancel":
                call.cancel()
    while engine.stats().waiting_items + engine.stats().running_items:
        # One step at a time: the cancellation needs a moment to reach the server.
        gate.let(1)
        await asyncio.sleep(0.02)
    assert gate.calls < 100


async def _calls(gate: Gate, count: int) -> None:
    """Waits until the engine is in its denoiser call of this number."""
    while gate.calls < count:
        await asyncio.sleep(0.001)


def _seconds(event: EngineEvent) -> float:
    return event.seconds_left if isinstance(event, StepDone) else -1.0


async def _read_until(events: AsyncIterator[EngineEvent], found: Callable[[EngineEvent], bool]) -> None:
    async for event in events:
        if found(event):
            return
