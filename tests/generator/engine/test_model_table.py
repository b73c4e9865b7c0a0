"""Models that come to a running engine and leave it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from services.common.errors import CancelledError, Reason, UnavailableError
from services.common.settings import Settings
from services.generator.domain import ItemRequest
from services.generator.engine.base import Failed, Finished
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.gate import Gate
from tests.generator.tiny import TINY, work

ITEM = ItemRequest("a", "a red star", 1)


def _load(models_dir: Path) -> LoadedModel:
    return load_model(TINY.model_copy(update={"id": "other"}), Settings(models_dir=models_dir, device="cpu"))


@pytest.fixture
def other(models_dir: Path) -> LoadedModel:
    """A model that no engine has yet."""
    return _load(models_dir)


async def test_a_model_comes_and_leaves_while_another_makes_pictures(
    engine: StepEngine, tiny: LoadedModel, other: LoadedModel, gate: Gate
) -> None:
    running = engine.submit(work(tiny, ITEM))
    with pytest.raises(UnavailableError, match="generator model 'other' is not loaded now") as refused:
        engine.submit(work(other, ITEM))
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    gate.open()
    await asyncio.wrap_future(engine.add(other))
    made = [event async for event in engine.submit(work(other, ITEM)).events()]
    assert isinstance(made[-1], Finished)
    await asyncio.wrap_future(engine.remove("other"))
    with pytest.raises(UnavailableError, match="'other' is not loaded"):
        engine.submit(work(other, ITEM))
    assert isinstance([event async for event in running.events()][-1], Finished)


async def test_a_model_stays_until_its_last_picture_has_ended_and_takes_no_new_ones(
    engine: StepEngine, tiny: LoadedModel, gate: Gate
) -> None:
    running = engine.submit(work(tiny, ITEM, ItemRequest("b", "a moon", 2)))
    left = engine.remove("tiny")
    assert engine.remove("tiny") is left
    with pytest.raises(UnavailableError, match="'tiny' is not loaded now"):
        engine.submit(work(tiny, ITEM))
    running.cancel("b")
    gate.let(2)
    while gate.calls < 3:
        await asyncio.sleep(0.001)
    assert not left.done()
    gate.open()
    events = [event async for event in running.events()]
    assert sum(isinstance(event, Finished) for event in events) == 1
    assert [event.error.code for event in events if isinstance(event, Failed)] == [CancelledError.code]
    await asyncio.wrap_future(left)


async def test_nothing_of_the_engine_holds_a_model_that_has_left(engine: StepEngine, models_dir: Path) -> None:
    other = _load(models_dir)  # fixtures are held by pytest
    await asyncio.wrap_future(engine.add(other))
    items = work(other, ITEM, ItemRequest("b", "a moon", 2, width_pixels=16))
    assert len([event async for event in engine.submit(items).events() if isinstance(event, Finished)]) == 2
    held = weakref.ref(other.family), weakref.ref(other.family.pipeline), weakref.ref(other.family.pipeline.unet)
    await asyncio.wrap_future(engine.remove("other"))
    del other
    gc.collect()
    assert [reference() for reference in held] == [None, None, None]


async def test_an_engine_that_stops_changes_nothing_more(tiny: LoadedModel, other: LoadedModel) -> None:
    engine = StepEngine({"tiny": tiny})
    engine.close()
    for future in (engine.add(other), engine.remove("tiny")):
        with pytest.raises(UnavailableError, match="the generator is stopping"):
            await asyncio.wrap_future(future)
