"""Which waiting pictures begin first, and that none waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.generator.domain import EngineItem, Priority
from services.generator.engine.base import Failed, Finished, Queued, Started, Submission
from services.generator.engine.precedence import MOST_OVERTAKEN, Precedence
from services.generator.engine.slots import Slot, SlotSubmission
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from tests.generator.engine.test_joining import called, read, unguided
from tests.generator.families.running import RECORD
from tests.generator.gate import Gate
from tests.generator.tiny import work

BATCH, NORMAL, INTERACTIVE = Priority
LETTERS = {"b": BATCH, "n": NORMAL, "i": INTERACTIVE}


def waiting(letters: str, model: str = "m") -> list[Slot]:
    """A slot each, as old as its place, of the priority whose first letter it is."""
    made = []
    for place, letter in enumerate(letters):
        item = EngineItem(f"{letter}{place}", replace(RECORD, model=model))
        made += SlotSubmission([item], lambda _: "one", priority=LETTERS[letter]).slots.values()
    return made


def names(slots: Sequence[Slot]) -> str:
    return " ".join(slot.item.item_id for slot in slots)


async def test_the_urgent_begin_first_and_of_those_the_oldest() -> None:
    assert names(Precedence().order(waiting("bnibni"))) == "i2 i5 n1 n4 b0 b3"


async def test_the_one_that_has_waited_longest_begins_when_enough_have_passed_it() -> None:
    order = Precedence().order(waiting("bb" + "i" * 40))
    assert order[MOST_OVERTAKEN].item.item_id == "b0"
    assert order[2 * MOST_OVERTAKEN + 1].item.item_id == "b1"
    assert [slot.priority for slot in order].count(BATCH) == 2


async def test_what_has_passed_before_counts() -> None:
    """Urgent pictures that come without end leave every 17th place to the oldest."""
    precedence, queue = Precedence(), waiting("bn")
    begun: list[str] = []
    for _ in range(2 * MOST_OVERTAKEN + 2):
        queue += waiting("i")
        first = precedence.order(queue)[0]
        precedence.began(queue, [first])
        queue.remove(first)
        begun.append(first.item.item_id[0])
    assert begun == [*"i" * MOST_OVERTAKEN, "b", *"i" * MOST_OVERTAKEN, "n"]


async def test_what_cannot_begin_yet_stays_next_and_holds_nobody_back() -> None:
    precedence, queue = Precedence(), waiting("b" + "i" * 40)
    for _ in range(MOST_OVERTAKEN + 5):
        first_that_can = next(slot for slot in precedence.order(queue) if slot.priority is INTERACTIVE)
        precedence.began(queue, [first_that_can])
        queue.remove(first_that_can)
    assert names(precedence.order(queue)[:1]) == "b0"


async def test_models_do_not_count_each_others_pictures() -> None:
    precedence = Precedence()
    mine, other = waiting("b" + "i" * 3, "mine"), waiting("b" + "i" * MOST_OVERTAKEN, "other")
    precedence.began([*mine, *other], other[1:])
    assert names(precedence.order([*mine, other[0]])) == "i1 i2 i3 b0 b0"


@pytest.fixture
async def full(engine: StepEngine, tiny: LoadedModel, gate: Gate) -> Submission:
    """Four pictures on their way, which is all that run at once; the engine is in their first step."""
    running = engine.submit(work(tiny, *(unguided(f"running {index}", 2) for index in range(4))))
    await called(gate, 1)
    return running


async def test_waiting_pictures_begin_by_priority_and_running_ones_are_never_thrown_out(
    engine: StepEngine, tiny: LoadedModel, gate: Gate, full: Submission
) -> None:
    asked = [(BATCH, "abc"), (NORMAL, "d"), (INTERACTIVE, "ef")]
    submissions = [
        engine.submit(work(tiny, *(unguided(name, 2) for name in some)), priority=priority) for priority, some in asked
    ]
    gate.open()
    of_running, *answers = await asyncio.gather(read(full), *(read(one) for one in submissions))
    assert sum(isinstance(event, Finished) for event in of_running) == 4
    events = [event for some in answers for event in some]
    assert sum(isinstance(event, Finished) for event in events) == 6
    ahead = {event.item_id: event.items_ahead for event in events if isinstance(event, Queued)}
    # As it stood when each came: the interactive ones pass all that wait.
    assert ahead == {"a": 4, "b": 5, "c": 6, "d": 4, "e": 4, "f": 5}
    mates = {event.item_id: event.batch_size for event in events if isinstance(event, Started)}
    # Four places come free at once: two interactive, the normal one and the oldest of the batch ones take them.
    assert mates == {"e": 4, "f": 4, "d": 4, "a": 4, "b": 2, "c": 2}


async def test_a_picture_whose_time_is_over_while_it_waits_costs_no_step(
    engine: StepEngine, tiny: LoadedModel, gate: Gate, full: Submission
) -> None:
    # Accepted: how long steps take is not known yet.
    late = engine.submit(work(tiny, unguided("late", 2)), deadline_seconds=1e-3)
    in_time = engine.submit(work(tiny, unguided("in time", 2)), deadline_seconds=3600)
    await asyncio.sleep(2e-3)
    gate.open()
    events = await read(late)
    assert [type(event) for event in events] == [Queued, Failed]
    assert isinstance(events[1], Failed)
    assert (events[1].error.code, events[1].error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert isinstance((await read(in_time))[-1], Finished)
    assert sum(isinstance(event, Finished) for event in await read(full)) == 4


async def test_a_picture_that_has_begun_is_finished_after_its_time(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    begun = engine.submit(work(tiny, unguided("a", 3)), deadline_seconds=3600)
    await called(gate, 1)
    assert isinstance(begun, SlotSubmission)
    begun.slots["a"].expires_at = 0.0
    gate.open()
    assert isinstance((await read(begun))[-1], Finished)
