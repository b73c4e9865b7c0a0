"""Adapters that leave when no picture uses them, and come back the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import UnavailableError
from services.common.profile import Adapter
from services.common.settings import Settings
from services.generator.domain import ItemRequest
from services.generator.engine.base import Finished
from services.generator.engine.step_engine import StepEngine
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.adapters.conftest import with_adapters
from tests.generator.adapters.test_parity import RECORD
from tests.generator.families.running import alone, assert_same
from tests.generator.tiny import TINY, work

STAR, MOON = (replace(RECORD, adapter=name, adapter_scale=0.7) for name in ("star", "moon"))


@pytest.fixture
def tight(models_dir: Path, files: dict[str, Path]) -> LoadedModel:
    """The tiny model with room for one of its two adapters."""
    adapters = [Adapter(id=name, source=str(file)) for name, file in files.items()]
    model = with_adapters(*adapters, model=TINY.model_copy(update={"max_loaded_adapters": 1}))
    return load_model(model, Settings(models_dir=models_dir, device="cpu"))


@pytest.fixture
def tight_engine(tight: LoadedModel) -> Iterator[StepEngine]:
    """An engine over it."""
    engine = StepEngine({"tiny": tight})
    yield engine
    engine.close()


def test_pictures_are_the_same_to_the_bit_whatever_has_left_and_come_back(
    tight: LoadedModel, adapted: LoadedModel, tiny: LoadedModel
) -> None:
    adapters = tight.family.adapters
    # Both were tried at the start.
    assert [card.absent_reason for card in tight.card.adapters] == ["", ""] and adapters.loaded == ["moon"]
    for record in (STAR, MOON, RECORD, STAR, RECORD):
        expected = alone(adapted.family, record) if record.adapter else alone(tiny.family, record)
        assert_same(alone(tight.family, record), expected, tolerance=0.0)
        adapters.unload_unused()
        assert len(adapters.loaded) == 1
    assert adapters.loaded == ["star"]
    layers = [name for name, _ in tight.family.pipeline.unet.named_parameters() if "lora_" in name]
    assert layers and len({name.split("adapter_")[1].split(".")[0] for name in layers}) == 1


def test_one_that_pictures_use_stays_beyond_the_limit(tight: LoadedModel) -> None:
    adapters = tight.family.adapters
    adapters.use(STAR)
    adapters.unload_unused({"star", "moon"})
    assert adapters.loaded == ["moon", "star"]
    assert adapters.active is not None
    adapters.unload_unused({"moon"})
    assert adapters.loaded == ["moon"] and adapters.active is None


def test_a_file_that_has_changed_is_not_taken_for_what_it_was(
    models_dir: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "star.safetensors"
    file.write_bytes(files["star"].read_bytes())
    both = Adapter(id="star", source=str(file)), Adapter(id="moon", source=str(files["moon"]))
    model = with_adapters(*both, model=TINY.model_copy(update={"max_loaded_adapters": 1}))
    family = load_model(model, Settings(models_dir=models_dir, device="cpu")).family
    before = alone(family, MOON)
    file.write_bytes(files["moon"].read_bytes())
    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"adapter 'star': star\.safetensors has changed or gone"):
            alone(family, STAR)
        assert_same(alone(family, MOON), before, tolerance=0.0)


async def test_pictures_with_more_adapters_than_stay_take_turns_and_the_engine_tidies_up(
    tight: LoadedModel, tight_engine: StepEngine, adapted: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        ItemRequest("star", "a red star", 1, steps=3, adapter="star", deterministic=True),
        ItemRequest("moon", "a red star", 1, steps=5, adapter="moon", deterministic=True),
        ItemRequest("plain", "a red star", 1, steps=4, deterministic=True),
    ]
    loads = []
    put_in = tight.family.adapters._put_in

    def counted(adapter_id: str, file: Path) -> None:
        loads.append(adapter_id)
        put_in(adapter_id, file)

    monkeypatch.setattr(tight.family.adapters, "_put_in", counted)
    events = [event async for event in tight_engine.submit(work(tight, *items)).events()]
    made = {event.item_id: np.asarray(event.picture) for event in events if isinstance(event, Finished)}
    # While both are on their way both stay: nothing is read at every turn.
    assert loads == ["star"]
    tight_engine.close()
    assert len(tight.family.adapters.loaded) == 1
    other = StepEngine({"tiny": adapted})
    events = [event async for event in other.submit(work(adapted, *items)).events()]
    other.close()
    for event in events:
        if isinstance(event, Finished):
            assert np.array_equal(np.asarray(event.picture), made[event.item_id])
