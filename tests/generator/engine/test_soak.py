"""Many callers at once that come, go and cancel as they like."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import weakref

from services.common.errors import CancelledError, OverloadedError
from services.generator import schedulers
from services.generator.domain import ItemRequest
from services.generator.engine.base import Failed, Finished
from services.generator.engine.slots import Slot
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from tests.generator.tiny import work

CALLERS = 50


async def test_callers_that_come_and_cancel_leave_nothing_behind(tiny: LoadedModel) -> None:
    engine = StepEngine({"tiny": tiny}, max_waiting_items=20)
    # However fast it is, the engine makes nothing before somebody found no room.
    full = threading.Event()

    def hold(*_: object) -> None:
        full.wait(60)

    handle = tiny.family.pipeline.unet.register_forward_pre_hook(hold)
    rng = random.Random(1)
    held: list[weakref.ref[Slot]] = []
    outcomes = await asyncio.gather(*(_caller(engine, tiny, rng, held, full) for _ in range(CALLERS)))
    handle.remove()
    made, cancelled, refused = (sum(outcome.count(name) for outcome in outcomes) for name in ("made", "cut", "no room"))
    assert made and cancelled and refused
    assert made + cancelled == len(held)
    stats = engine.stats()
    assert (stats.waiting_items, stats.running_items) == (0, 0)
    assert engine.is_alive()
    # The engine's thread may still be on its way out of its last turn.
    async with asyncio.timeout(20):
        while engine._groups or any(slot() is not None for slot in held):
            gc.collect()
            await asyncio.sleep(0.01)
    engine.close()


async def _caller(
    engine: StepEngine,
    model: LoadedModel,
    rng: random.Random,
    held: list[weakref.ref[Slot]],
    full: threading.Event,
) -> list[str]:
    """Asks for pictures until the queue takes them; cancels some, or all, at some event; what became of them."""
    items = [
        ItemRequest(
            str(index),
            rng.choice("abcdef"),
            rng.randrange(1000),
            steps=rng.randint(1, 6),
            scheduler=rng.choice([*schedulers.CLASSES]),
            guidance_scale=rng.choice([1.0, 3.0]),
            width_pixels=rng.choice([16, 32]),
        )
        for index in range(rng.randint(1, 4))
    ]
    outcome = []
    await asyncio.sleep(0.1 * rng.random())
    while True:
        try:
            submission = engine.submit(work(model, *items))
            break
        except OverloadedError:
            outcome.append("no room")
            full.set()
            await asyncio.sleep(0.05)
    held += [weakref.ref(slot) for slot in submission.slots.values()]
    patience = rng.randint(1, 30)
    async for event in submission.events():
        patience -= 1
        if not patience:
            submission.cancel(rng.choice([None, items[0].item_id]))
        if isinstance(event, Finished):
            outcome.append("made")
        elif isinstance(event, Failed):
            assert isinstance(event.error, CancelledError)
            outcome.append("cut")
    return outcome
