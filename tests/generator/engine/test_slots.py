"""How events get from the engine's thread to their reader."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from services.common.errors import CancelledError
from services.generator.domain import EngineItem
from services.generator.engine.base import Failed, Queued, StepDone
from services.generator.engine.slots import Slot, SlotSubmission, emit_together
from tests.generator.families.running import RECORD

STEPS = 10_000


def submission(*names: str) -> SlotSubmission:
    """A submission of items of one group."""
    return SlotSubmission([EngineItem(name, replace(RECORD, steps=STEPS)) for name in names], lambda _: "one")


def in_a_thread(work: Callable[[], None]) -> threading.Thread:
    """Runs work where the engine would."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def every_step(slot: Slot) -> None:
    """Emits each step and the end."""
    for step in range(1, STEPS + 1):
        slot.emit(StepDone(slot.item.item_id, step, STEPS, 0.0))
    slot.emit(Failed(slot.item.item_id, CancelledError()))


async def test_no_last_event_is_lost_and_steps_only_go_up_while_both_threads_run() -> None:
    both = submission("a", "b")
    threads = [in_a_thread(lambda slot=slot: every_step(slot)) for slot in both.slots.values()]
    seen = [event async for event in both.events()]
    for thread in threads:
        thread.join()
    for name in "ab":
        mine = [event for event in seen if event.item_id == name]
        steps = [event.step for event in mine if isinstance(event, StepDone)]
        assert steps == sorted(set(steps))
        assert isinstance(mine[-1], Failed) and sum(isinstance(event, Failed) for event in mine) == 1


async def test_a_busy_event_loop_is_woken_once_however_many_events_come(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    wake, wakes = loop.call_soon_threadsafe, []
    one = submission("a")
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: wakes.append(wake(*args)))
    in_a_thread(lambda: every_step(one.slots["a"])).join()  # the loop cannot run meanwhile
    monkeypatch.undo()
    assert len(wakes) == 1
    assert [type(event) for event in [event async for event in one.events()]] == [StepDone, Failed]


async def test_events_of_several_pictures_wake_their_readers_event_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    wake, wakes = loop.call_soon_threadsafe, []
    calls = [submission("a"), submission("b", "c"), submission("d")]
    slots = [slot for one in calls for slot in one.slots.values()]
    calls[2].slots["d"].ended = True
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: wakes.append(wake(*args)))
    ends = [(slot, Failed(slot.item.item_id, CancelledError())) for slot in slots]
    in_a_thread(lambda: emit_together(ends)).join()
    monkeypatch.undo()
    assert len(wakes) == 1
    for one, names in zip(calls[:2], ("a", "bc"), strict=True):
        assert [event.item_id for event in [event async for event in one.events()]] == list(names)


async def test_nothing_follows_the_last_event() -> None:
    one = submission("a")
    slot = one.slots["a"]
    for event in (Queued("a", 0), Failed("a", CancelledError()), StepDone("a", 1, STEPS, 0.0)):
        slot.emit(event)
    assert [type(event) for event in [event async for event in one.events()]] == [Queued, Failed]


def test_events_of_a_loop_that_is_gone_do_no_harm() -> None:
    async def make() -> SlotSubmission:
        return submission("a")

    every_step(asyncio.run(make()).slots["a"])
