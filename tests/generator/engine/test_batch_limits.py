"""The engine takes as many pictures into a call as fit into the memory left. The meter counts tensors on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch

from services.generator.batch_memory import BatchMemory, CallMemory
from services.generator.domain import ItemRequest
from services.generator.engine.base import Finished
from services.generator.engine.measuring import measured
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from tests.generator.engine.byte_meter import ByteMeter
from tests.generator.tiny import TINY, work

Hooks = Callable[[Callable[[int], None]], None]


@dataclass
class World:
    """An engine over the tiny model, and a meter that says what is left."""

    model: LoadedModel
    engine: StepEngine
    meter: ByteMeter
    rows: list[int]
    """Pictures of each denoiser call."""

    async def make(self, count: int, **fields: object) -> list[int]:
        """Makes so many pictures of two steps; how many were in each call."""
        self.rows.clear()
        items = [ItemRequest(str(i), "x", i, steps=2, guidance_scale=1.0, **fields) for i in range(count)]  # type: ignore[arg-type]
        events = [event async for event in self.engine.submit(work(self.model, *items)).events()]
        assert sum(isinstance(event, Finished) for event in events) == count
        return self.rows

    def leave(self, pictures: float) -> None:
        """Leaves memory for so many pictures of native size, besides the tenth that is kept back."""
        memory = self.model.memory
        assert memory is not None
        self.meter.left = round((memory.denoise.fixed_bytes + pictures * memory.denoise.picture_bytes) / 0.9)


@pytest.fixture
def world(tiny: LoadedModel, before_denoising: Hooks) -> Iterator[World]:
    meter, rows = ByteMeter(), []  # type: ignore[var-annotated]
    model = measured(tiny, meter)
    assert model.memory is not None
    # The decoder must not be what limits, whichever of the two takes more.
    model = replace(model, memory=replace(model.memory, decode=CallMemory(0, 1)))
    before_denoising(rows.append)
    engine = StepEngine({"tiny": model})
    yield World(model, engine, meter, rows)
    engine.close()


async def test_a_call_takes_the_pictures_that_fit_by_their_size(world: World) -> None:
    world.leave(2.5)
    assert await world.make(4) == [2, 2, 2, 2]
    assert await world.make(2, width_pixels=64, height_pixels=64) == [1, 1, 1, 1]
    assert await world.make(5, width_pixels=16) == [4, 4, 1, 1]


async def test_one_picture_is_always_tried_and_the_profile_has_the_last_word(world: World) -> None:
    world.meter.left = 0
    assert await world.make(2) == [1, 1, 1, 1]
    world.leave(1000)
    assert await world.make(5) == [TINY.max_batch, TINY.max_batch, 1, 1]
    assert await world.make(2, deterministic=True) == [1, 1, 1, 1]


async def test_memory_is_looked_at_again_when_a_group_begins_anew_and_not_at_every_step(world: World) -> None:
    world.leave(3.5)
    looks = world.meter.looks
    assert await world.make(3) == [3, 3]
    assert world.meter.looks == looks + 1
    world.leave(1.5)
    # Each begins when the one before it has left, and the group with it.
    assert await world.make(3) == [1, 1, 1, 1, 1, 1]
    assert world.meter.looks == looks + 4


async def test_waiting_times_are_estimated_by_the_same_limits(world: World) -> None:
    (item,) = work(world.model, ItemRequest("a", "x", 1))
    key = world.engine._key(item.record)
    assert world.engine._places(key) == TINY.max_batch
    world.leave(2.5)
    await world.make(1)
    assert world.engine._places(key) == 2


async def test_a_decoder_that_takes_more_is_called_for_fewer(tiny: LoadedModel, before_denoising: Hooks) -> None:
    meter, rows, decoded = ByteMeter(left=1000), [], []  # type: ignore[var-annotated]
    memory = BatchMemory(CallMemory(100, 200), CallMemory(100, 400), native_pixels=32 * 32, meter=meter)
    model = replace(tiny, memory=memory)
    handle = tiny.family.pipeline.vae.decoder.register_forward_pre_hook(lambda _, args: decoded.append(len(args[0])))
    before_denoising(rows.append)
    engine = StepEngine({"tiny": model})
    await World(model, engine, meter, []).make(4)
    engine.close()
    handle.remove()
    assert rows == [4, 4] and decoded == [2, 2]


async def test_memory_that_runs_out_nevertheless_counts_for_more(world: World, before_denoising: Hooks) -> None:
    def memory_for_one(rows: int) -> None:
        if rows > 1:
            raise torch.OutOfMemoryError("out of memory")

    before_denoising(memory_for_one)
    world.leave(3.5)
    assert (await world.make(3))[0] == 3
    assert await world.make(3) == [1, 1, 1, 1, 1, 1]
