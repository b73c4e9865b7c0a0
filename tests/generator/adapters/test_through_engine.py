"""Pictures with different adapters in one engine at the same time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.generator.adapters.switch import Selection, selection
from services.generator.domain import ItemRequest
from services.generator.engine.base import Finished, Started
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel
from tests.generator.adapters.conftest import Stock
from tests.generator.families.running import PICTURE_TOLERANCE, stock
from tests.generator.tiny import work

ITEMS = [
    ItemRequest("plain", "a red star", 5, steps=6),
    ItemRequest("star", "a red star", 5, steps=6, adapter="star"),
    ItemRequest("moon", "a red star", 5, steps=6, adapter="moon", adapter_scale=0.5),
    ItemRequest("less-star", "a red star", 5, steps=6, adapter="star", adapter_scale=-0.5),
    ItemRequest("star-mate", "two BLUE moons", 6, steps=8, adapter="star", scheduler="unipc"),
    ItemRequest("plain-mate", "two BLUE moons", 6, steps=8, adapter="moon", adapter_scale=0),
]


@pytest.fixture
def adapted_engine(adapted: LoadedModel) -> Iterator[StepEngine]:
    """An engine over the model with adapters."""
    engine = StepEngine({"tiny": adapted})
    yield engine
    engine.close()


async def test_each_picture_is_the_stock_pipelines_with_its_adapter(
    adapted: LoadedModel,
    adapted_engine: StepEngine,
    stock_pipeline: Stock,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[Selection | None] = []
    # A second a call, whatever else the machine does: whose turn it is goes by the time that groups have used.
    monkeypatch.setattr(time, "perf_counter", lambda: float(len(used)))
    handle = adapted.family.pipeline.unet.register_forward_pre_hook(
        lambda *_: used.append(adapted.family.adapters.active)
    )
    work_items = work(adapted, *ITEMS)
    seen = [event async for event in adapted_engine.submit(work_items).events()]
    handle.remove()
    finished = {event.item_id: np.asarray(event.picture, np.float64) for event in seen if isinstance(event, Finished)}
    for item in work_items:
        pipeline = stock_pipeline()
        wanted = selection(item.record)
        if wanted is not None:
            pipeline.load_lora_weights(files[wanted.adapter], adapter_name="theirs")
            pipeline.set_adapters("theirs", wanted.scale)
        theirs = stock(pipeline, item.record).picture
        assert np.abs(finished[item.item_id] - theirs).mean() <= PICTURE_TOLERANCE, item.item_id
    assert np.abs(finished["plain"] - finished["star"]).mean() > 1
    assert np.abs(finished["star"] - finished["less-star"]).mean() > 1
    sizes = {event.item_id: event.batch_size for event in seen if isinstance(event, Started)}
    assert sizes == {"plain": 2, "plain-mate": 2, "star": 2, "star-mate": 2, "moon": 1, "less-star": 1}
    # They took turns, so each switch had a picture on its way on both sides.
    assert len(set(used)) == 4
    assert sum(one != other for one, other in itertools.pairwise(used)) > 10


async def test_a_switch_that_fails_takes_only_its_pictures_along_and_is_done_again(
    adapted: LoadedModel, adapted_engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def made(*items: ItemRequest) -> dict[str, bytes]:
        events = [event async for event in adapted_engine.submit(work(adapted, *items)).events()]
        return {event.item_id: event.picture.tobytes() for event in events if isinstance(event, Finished)}

    plain, star = ITEMS[:2]
    expected = await made(star) | await made(plain)

    def fail(*names: str) -> None:
        raise RuntimeError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(adapted.family.adapters, "_activate", fail)
        assert await made(star) == {}
    assert await made(star) == {"star": expected["star"]}
    activate = adapted.family.adapters._activate

    def fail_late(*names: str) -> None:
        activate(*names)
        if names:
            raise RuntimeError("lost")

    await made(plain)
    monkeypatch.setattr(adapted.family.adapters, "_activate", fail_late)
    assert await made(plain, star) == {"plain": expected["plain"]}
