"""Every scheduler a model offers works with its prediction type, from one step on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, PNDMScheduler

from services.common.settings import Settings
from services.generator import schedulers
from services.generator.domain import EngineItem
from services.generator.engine.base import Finished, Started, StepDone
from services.generator.engine.step_engine import StepEngine
from services.generator.families.base import Family
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.families.running import RECORD
from tests.generator.gate import Gate
from tests.generator.tiny import TINY

_FLOW = "FlowMatchEulerDiscreteScheduler"
Picture = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@torch.inference_mode()
def _draw(family: Family, scheduler: str, steps: int) -> Picture:
    """A picture of a family alone; its latents are numbers after every step."""
    (one,) = family.begin([replace(RECORD, scheduler=scheduler, steps=steps)])
    while not one.is_done:
        family.advance(one, family.predict([one])[0])
        assert one.latents.isfinite().all()
    return np.asarray(family.decode([one])[0], dtype=np.float64)


@pytest.mark.parametrize("name", schedulers.CLASSES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_few_steps_give_numbers(tiny: LoadedModel, name: str, steps: int) -> None:
    assert _draw(tiny.family, name, steps).std() > 1


@pytest.fixture(scope="module")
def reference(tiny: LoadedModel) -> tuple[Picture, float]:
    """DDIM's picture after many steps, and how far its picture after few is from it."""
    many = _draw(tiny.family, "ddim", 50)
    return many, float(np.abs(many - _draw(tiny.family, "ddim", 3)).mean())


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "unipc"])
def test_deterministic_schedulers_reach_the_same_picture(
    tiny: LoadedModel, reference: tuple[Picture, float], name: str
) -> None:
    """All solve one differential equation: with many steps they must meet, or one misreads the model."""
    many, apart = reference
    difference = np.abs(many - _draw(tiny.family, name, 50)).mean()
    assert difference < 0.25 * apart


def test_the_models_own_scheduler_comes_first(tiny: LoadedModel) -> None:
    assert tiny.card.limits.schedulers == ("ddim", "euler", "euler_ancestral", "dpmpp_2m", "unipc")
    assert schedulers.names_for(PNDMScheduler())[:2] == ("pndm", "ddim")
    assert schedulers.names_for(FlowMatchEulerDiscreteScheduler()) == ("flow_euler",)


async def test_a_scheduler_with_an_extra_call_still_reports_its_steps(models_dir: Path) -> None:
    """PNDM calls the denoiser twice for its first step."""
    model = load_model(TINY, Settings(models_dir=models_dir, device="cpu"))
    pipeline = model.family.pipeline
    pipeline.scheduler = PNDMScheduler(skip_prk_steps=True, prediction_type="v_prediction", steps_offset=1)
    gate = Gate()
    pipeline.unet.register_forward_pre_hook(lambda *_: gate.wait())
    engine = StepEngine({"tiny": model})
    submission = engine.submit([EngineItem("a", replace(RECORD, scheduler="pndm", steps=4))])
    reported = []
    async for event in submission.events():
        if isinstance(event, Started | StepDone):
            gate.let(1)
        if isinstance(event, StepDone):
            reported.append(event.step)
    engine.close()
    assert isinstance(event, Finished) and reported == [1, 1, 2, 3, 4]


def test_each_picture_gets_a_scheduler_of_its_own(tiny: LoadedModel) -> None:
    own = tiny.family.pipeline.scheduler
    assert schedulers.build("dpmpp_2m", own) is not schedulers.build("dpmpp_2m", own)
    first = _draw(tiny.family, "dpmpp_2m", 3)
    assert np.array_equal(first, _draw(tiny.family, "dpmpp_2m", 3))


@pytest.mark.parametrize("name", [*schedulers.CLASSES, "pndm", "flow_euler"])
def test_what_copies_share_is_never_written_into(name: str) -> None:
    kind = getattr(diffusers, (schedulers.CLASSES | {"pndm": "PNDMScheduler"}).get(name, _FLOW))
    ready = kind()
    ready.set_timesteps(6)
    before = copy.deepcopy(vars(ready))
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    first: list[torch.Tensor] = []
    for _ in range(2):
        one, generator, steps = schedulers.copied(ready), torch.Generator().manual_seed(0), [latents]
        for timestep in one.timesteps:
            scaled = one.scale_model_input(steps[-1], timestep) if hasattr(one, "scale_model_input") else steps[-1]
            steps.append(schedulers.step(one, scaled.sin(), timestep, steps[-1], generator).latents)
        first = first or steps
        assert all(torch.equal(step, same) for step, same in zip(first, steps, strict=True))
    for attribute, value in before.items():
        now = getattr(ready, attribute) if attribute != "_internal_dict" else ready.config
        assert torch.equal(value, now) if isinstance(value, torch.Tensor) else np.array_equal(value, now), attribute
