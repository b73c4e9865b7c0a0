"""How long a queue takes, and who is turned away for it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from services.common.errors import OverloadedError, Reason
from services.generator.domain import EngineItem, Priority
from services.generator.engine.admission import Admission, starts_after_steps
from services.generator.engine.base import Finished
from services.generator.engine.pace import Pace
from services.generator.engine.precedence import Precedence
from services.generator.engine.slots import Slot, SlotSubmission
from services.generator.engine.step_engine import StepEngine
from services.generator.families.base import Denoising
from services.generator.pipelines import LoadedModel
from tests.generator.engine.test_joining import called, read, unguided
from tests.generator.families.running import RECORD
from tests.generator.gate import Gate
from tests.generator.tiny import work


async def slots(running: list[int], waiting: list[int], priority: Priority = Priority.NORMAL) -> list[Slot]:
    """Slots of one group with so many steps left."""
    items = [EngineItem(str(index), replace(RECORD, steps=steps)) for index, steps in enumerate([*running, *waiting])]
    made = list(SlotSubmission(items, lambda _: "one", priority=priority).slots.values())
    for slot, steps in zip(made, running, strict=False):
        slot.begin(Denoising(slot.item.record, {}, None, (None,) * steps, None, None))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("running", "waiting", "places", "starts"),
    [
        ([], [5, 5], 4, [0, 0]),
        ([], [5, 5, 5], 2, [0, 0, 5]),
        ([3, 9], [4, 4, 4], 2, [3, 7, 9]),
        ([3, 9], [4, 4, 4], 3, [0, 3, 4]),
        ([3, 9, 6], [4, 4], 2, [6, 9]),
    ],
)
async def test_a_waiting_picture_starts_when_a_place_comes_free(
    running: list[int], waiting: list[int], places: int, starts: list[int]
) -> None:
    """The last has lost a place to memory that ran out: the first picture that ends makes no room."""
    assert list(starts_after_steps(await slots(running, waiting), places).values()) == starts


async def test_a_queue_past_the_deadline_refuses_at_once_and_says_when_to_come_back(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    first = engine.submit(work(tiny, unguided("first", 5)))
    gate.let(5)
    await read(first)
    full = engine.submit(work(tiny, *(unguided(name, 200) for name in "abcd")))
    await called(gate, 6)
    late = work(tiny, unguided("late", 1))
    with pytest.raises(OverloadedError) as refused:
        engine.submit(late, deadline_seconds=1e-6)
    assert refused.value.reason is Reason.QUEUE_FULL and "deadline" in refused.value.message
    assert refused.value.retry_after_seconds is not None and refused.value.retry_after_seconds > 0
    assert engine.stats().waiting_items == 0
    in_time = engine.submit(late, deadline_seconds=3600)
    full.cancel()
    gate.open()
    assert isinstance((await read(in_time))[-1], Finished)


def admission(step_seconds: float, *, places: int = 4) -> Admission:
    """Of one model that takes so long for a step."""
    pace = Pace()
    pace.step_seconds.add(step_seconds)
    return Admission(100, lambda _: places, {RECORD.model: pace}, Precedence())


async def test_where_there_is_room_a_deadline_refuses_nobody() -> None:
    admission(1.0).check(await slots([9, 9, 9], []), await slots([], [5]), 4.5)


@pytest.mark.parametrize(
    ("priority", "seconds"), [(Priority.INTERACTIVE, 7), (Priority.NORMAL, 17), (Priority.BATCH, 37)]
)
async def test_only_what_begins_before_a_picture_counts_as_its_wait(priority: Priority, seconds: int) -> None:
    """One place; it comes free in 2 s, and each waiting picture takes it for 10 or 20 s."""
    queue = [*await slots([2], []), *await slots([], [10], Priority.NORMAL), *await slots([], [20], Priority.BATCH)]
    new = await slots([], [5], priority)
    gate = admission(1.0, places=1)
    gate.check(queue, new, seconds + 0.1)
    with pytest.raises(OverloadedError, match=f"would be there in {seconds}.0 s"):
        gate.check(queue, new, seconds - 0.1)


async def test_the_time_to_come_back_grows_with_what_is_asked(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    gate.let(5)
    await read(engine.submit(work(tiny, unguided("first", 5))))
    running = engine.submit(work(tiny, *(unguided(str(i), 20) for i in range(4))))
    await called(gate, 6)
    waiting = engine.submit(work(tiny, *(unguided(str(i), 20) for i in range(8))))
    hints = []
    for count in (1, 8):
        with pytest.raises(OverloadedError) as refused:
            engine.submit(work(tiny, *(unguided(str(i), 20) for i in range(count))))
        assert "8 pictures wait already" in refused.value.message
        hints.append(refused.value.retry_after_seconds or math.nan)
    assert 0 < hints[0] <= hints[1]
    running.cancel()
    waiting.cancel()
    gate.open()
    await asyncio.gather(read(running), read(waiting))
