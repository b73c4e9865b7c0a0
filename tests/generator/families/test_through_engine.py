"""Models of every family in one engine at the same time: each picture is its stock pipeline's."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from services.generator import schedulers
from services.generator.domain import EngineItem
from services.generator.engine.base import Finished, Submission
from services.generator.engine.step_engine import StepEngine
from services.generator.families.base import Family
from services.generator.pipelines import LoadedModel
from tests.generator.families.running import MATE, PICTURE_TOLERANCE, RECORD, stock

FAMILIES = ("sdxl", "sd3", "dev", "sigma", "tiny")
OPTIONS = {"sigma": {"clean_caption": False, "use_resolution_binning": False}}
"""What the stock pipeline must be told to do as it is asked."""


@pytest.fixture
def models(request: pytest.FixtureRequest, tiny: LoadedModel) -> dict[str, LoadedModel]:
    """A tiny model of each family, by its fixture's name."""
    families: dict[str, Family] = {name: request.getfixturevalue(name) for name in FAMILIES if name != "tiny"}
    families["tiny"] = tiny.family
    return {name: replace(tiny, card=replace(tiny.card, id=name), family=one) for name, one in families.items()}


async def test_models_take_turns_and_each_makes_its_own_pictures(models: dict[str, LoadedModel]) -> None:
    records = {
        f"{name}-{seed}": replace(record, model=name, seed=seed, scheduler=_own_scheduler(model))
        for name, model in models.items()
        for seed, record in enumerate((RECORD, MATE))
    }
    engine = StepEngine(models)
    submissions = [engine.submit([EngineItem(item_id, record)]) for item_id, record in records.items()]
    finished = dict(await asyncio.gather(*(_picture(submission) for submission in submissions)))
    engine.close()
    for item_id, record in records.items():
        theirs = stock(models[record.model].family.pipeline, record, **OPTIONS.get(record.model, {})).picture
        assert np.abs(finished[item_id] - theirs).mean() <= PICTURE_TOLERANCE, item_id


def _own_scheduler(model: LoadedModel) -> str:
    return schedulers.names_for(model.family.pipeline.scheduler)[0]


async def _picture(submission: Submission) -> tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    last = [event async for event in submission.events()][-1]
    assert isinstance(last, Finished), last
    return last.item_id, np.asarray(last.picture, dtype=np.float64)
