"""The same request gives the same picture, alone and in a full batch of others.

Tolerance on a CPU in float32: a mean absolute difference of at most 0.05 of 255 levels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from services.generator import schedulers
from services.generator.domain import ItemRequest, NoisePart
from services.generator.engine.base import Finished, Started
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from tests.generator.families.running import stock
from tests.generator.tiny import work

TOLERANCE = 0.05
MATES = [
    ItemRequest("short", "two BLUE moons", 8, steps=3, scheduler="unipc", guidance_scale=2.0),
    ItemRequest("unguided", "a cup", 9, steps=7, scheduler="euler_ancestral", guidance_scale=1.0),
    ItemRequest("negative", "a red star", 10, "a cow", steps=12, scheduler="dpmpp_2m", guidance_scale=6.5),
    ItemRequest("mixed", "x", 11, steps=5, scheduler="euler", noise_mix=(NoisePart(1, 1.0), NoisePart(2, 0.5))),
    ItemRequest("late", "a green hill", 12, steps=6, scheduler="ddim", guidance_scale=9.0),
]


async def pictures(engine: StepEngine, model: LoadedModel, *items: ItemRequest) -> dict[str, Image.Image]:
    """Finished pictures by item."""
    events = engine.submit(work(model, *items)).events()
    return {event.item_id: event.picture async for event in events if isinstance(event, Finished)}


@pytest.mark.parametrize("scheduler", schedulers.CLASSES)
async def test_a_picture_is_the_stock_pipelines_alone_and_in_a_full_mixed_batch(
    engine: StepEngine, tiny: LoadedModel, scheduler: str
) -> None:
    asked = ItemRequest("asked", "a red star", 5, steps=10, scheduler=scheduler)
    alone = (await pictures(engine, tiny, asked))["asked"]
    events = engine.submit(work(tiny, *MATES[:2], asked, *MATES[2:])).events()
    seen = [event async for event in events]
    assert {event.batch_size for event in seen if isinstance(event, Started)} == {4}
    together = next(event.picture for event in seen if isinstance(event, Finished) and event.item_id == "asked")
    record = work(tiny, asked)[0].record
    theirs = stock(tiny.family.pipeline, record).picture
    assert difference(alone, together) <= TOLERANCE
    assert difference(alone, theirs) <= TOLERANCE
    other = stock(tiny.family.pipeline, replace(record, seed=6)).picture
    assert difference(alone, other) > 10 * TOLERANCE


async def test_mates_are_what_they_are_alone(engine: StepEngine, tiny: LoadedModel) -> None:
    together = await pictures(engine, tiny, *MATES)
    for mate in MATES:
        alone = await pictures(engine, tiny, mate)
        assert difference(alone[mate.item_id], together[mate.item_id]) <= TOLERANCE


async def test_a_picture_made_twice_alone_is_the_same_to_the_bit(engine: StepEngine, tiny: LoadedModel) -> None:
    first, second = [await pictures(engine, tiny, MATES[1]) for _ in range(2)]
    assert difference(first["unguided"], second["unguided"]) == 0


async def test_a_smaller_batch_after_memory_ran_out_changes_no_picture(engine: StepEngine, tiny: LoadedModel) -> None:
    expected = await pictures(engine, tiny, *MATES)

    def memory_for_three_rows(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if len(args[0]) > 3:
            raise torch.OutOfMemoryError("out of memory")

    handle = tiny.family.pipeline.unet.register_forward_pre_hook(memory_for_three_rows)
    made = await pictures(engine, tiny, *MATES)
    handle.remove()
    assert {name: difference(made[name], expected[name]) <= TOLERANCE for name in expected} == dict.fromkeys(
        (mate.item_id for mate in MATES), True
    )


def difference(one: object, other: object) -> float:
    """Mean absolute difference of pixels, of 255."""
    return float(np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)).mean())
