"""Pictures join and leave the denoiser's batch between steps; groups take turns; memory is shared out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import torch

from services.generator.domain import ItemRequest
from services.generator.engine.base import EngineEvent, Failed, Finished, Started, StepDone, Submission
from services.generator.engine.rotation import MOST_PASSED_OVER
from services.generator.engine.step_engine import MAX_RUNNING_BATCHES, StepEngine
from services.generator.pipelines import LoadedModel
from tests.generator.gate import Gate
from tests.generator.tiny import TINY, work

Hooks = Callable[[Callable[[int], None]], None]


def unguided(name: str, steps: int, **fields: object) -> ItemRequest:
    """One row of a denoiser call."""
    return ItemRequest(name, "x", 1, steps=steps, guidance_scale=1.0, **fields)  # type: ignore[arg-type]


async def test_a_new_picture_waits_one_step_and_leaves_when_it_is_done(
    engine: StepEngine, tiny: LoadedModel, gate: Gate, before_denoising: Hooks
) -> None:
    rows: list[int] = []
    before_denoising(rows.append)
    long = engine.submit(work(tiny, unguided("long", 20)))
    await called(gate, 1)
    short = engine.submit(work(tiny, unguided("short", 3)))
    gate.open()
    answers = await asyncio.gather(read(long), read(short))
    # The first call ran when the second picture came; it is in the next three, and no longer.
    assert rows == [1, 2, 2, 2] + [1] * 16
    assert Started("short", 3, batch_size=2) in answers[1]
    assert [type(answer[-1]) for answer in answers] == [Finished, Finished]


async def test_a_place_that_comes_free_is_taken_at_the_next_step(
    engine: StepEngine, tiny: LoadedModel, before_denoising: Hooks
) -> None:
    rows: list[int] = []
    before_denoising(rows.append)
    items = [unguided("short", 2), *(unguided(name, 5) for name in "abc"), unguided("next", 4)]
    await read(engine.submit(work(tiny, *items)))
    assert rows == [4, 4, 4, 4, 4, 1]


async def test_a_small_picture_does_not_wait_for_a_large_one_nor_for_ever_the_large_one(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    sides: list[int] = []
    handle = tiny.family.pipeline.unet.register_forward_pre_hook(lambda _, args: sides.append(args[0].shape[-1]))
    large = engine.submit(work(tiny, unguided("large", 12, width_pixels=128, height_pixels=128)))
    await called(gate, 1)
    small = engine.submit(work(tiny, unguided("small", 40)))
    gate.open()
    answers = await asyncio.gather(read(large), read(small))
    handle.remove()
    assert [type(answer[-1]) for answer in answers] == [Finished, Finished]
    # The new group goes first.
    assert sides[:2] == [32, 8] and sides.count(8) == 40
    of_large = [place for place, side in enumerate(sides) if side == 32]
    assert max(later - earlier for earlier, later in itertools.pairwise(of_large)) <= MOST_PASSED_OVER + 2


async def test_pictures_of_many_sizes_do_not_all_begin_and_none_waits_for_ever(tiny: LoadedModel) -> None:
    engine = StepEngine({"tiny": tiny})
    running: list[int] = []
    handle = tiny.family.pipeline.unet.register_forward_pre_hook(
        lambda *_: running.append(engine.stats().running_items)
    )
    sizes = [{"width_pixels": 16 * (1 + index % 8), "height_pixels": 16 * (1 + index // 8)} for index in range(30)]
    events = await read(engine.submit(work(tiny, *(unguided(str(i), 2, **size) for i, size in enumerate(sizes)))))
    handle.remove()
    engine.close()
    assert max(running) == MAX_RUNNING_BATCHES * TINY.max_batch
    assert sum(isinstance(event, Finished) for event in events) == 30


async def test_a_scheduler_that_fails_in_the_middle_takes_no_mate_along(engine: StepEngine, tiny: LoadedModel) -> None:
    """Its noise schedule ends after the first step."""
    family = tiny.family
    begin = family.begin

    def begin_with_a_short_schedule(*what):  # type: ignore[no-untyped-def]
        begun = begin(*what)
        for one in begun:
            if one.record.scheduler == "euler":
                one.scheduler.sigmas = one.scheduler.sigmas[:2]
        return begun

    family.begin = begin_with_a_short_schedule  # type: ignore[method-assign]
    events = await read(engine.submit(work(tiny, unguided("good", 4), unguided("bad", 4, scheduler="euler"))))
    del family.begin
    last = {event.item_id: event for event in events}
    assert isinstance(last["good"], Finished) and isinstance(last["bad"], Failed)
    assert max(event.step for event in events if isinstance(event, StepDone) and event.item_id == "bad") == 1


async def test_decoding_that_does_not_fit_is_split(engine: StepEngine, tiny: LoadedModel) -> None:
    sizes: list[int] = []

    def memory_for_two(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        sizes.append(len(args[0]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("out of memory")

    handle = tiny.family.pipeline.vae.decoder.register_forward_pre_hook(memory_for_two)
    events = [await read(engine.submit(work(tiny, *(unguided(name, 2) for name in "abcd")))) for _ in range(2)]
    handle.remove()
    assert [sum(isinstance(event, Finished) for event in some) for some in events] == [4, 4]
    assert sizes == [4, 2, 2, 2, 2]


async def test_a_fault_of_the_engine_fails_what_is_open_and_shows(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    submission = engine.submit(work(tiny, unguided("a", 20)))
    await called(gate, 1)
    engine._rotation = None  # type: ignore[assignment]
    gate.open()
    events = await read(submission)
    assert isinstance(events[-1], Failed) and events[-1].error.retry_after_seconds
    assert not engine.is_alive()


async def called(gate: Gate, count: int) -> None:
    """Waits until the engine is in its denoiser call of this number."""
    while gate.calls < count:
        await asyncio.sleep(0.001)


async def read(submission: Submission) -> list[EngineEvent]:
    """All events."""
    return [event async for event in submission.events()]
