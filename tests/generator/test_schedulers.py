"""Every scheduler a model offers works with its prediction type, from one step on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler, PNDMScheduler

from services.generator import schedulers
from services.generator.domain import ItemRequest
from services.generator.engine.pipeline_batch import run_batch
from services.generator.pipelines import LoadedModel
from tests.generator.tiny import work

Picture = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _draw(model: LoadedModel, scheduler: str, steps: int) -> tuple[Picture, list[int], bool]:
    """Picture, reported steps, whether the latents were broken."""
    reported: list[int] = []
    broken: list[bool] = []

    def on_step(done: int, bad: frozenset[int]) -> None:
        reported.append(done)
        broken.append(bool(bad))

    (item,) = work(model, ItemRequest("a", "x", 1, steps=steps, scheduler=scheduler))
    (picture,) = run_batch(model, [item.record], on_step)
    return np.asarray(picture, dtype=np.float64), reported, any(broken)


@pytest.mark.parametrize("name", schedulers.CLASSES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_few_steps_give_numbers(tiny: LoadedModel, name: str, steps: int) -> None:
    _, reported, broken = _draw(tiny, name, steps)
    assert not broken and reported == list(range(1, steps + 1))


@pytest.fixture(scope="module")
def reference(tiny: LoadedModel) -> tuple[Picture, float]:
    """DDIM's picture after many steps, and how far its picture after few is from it."""
    many = _draw(tiny, "ddim", 50)[0]
    return many, float(np.abs(many - _draw(tiny, "ddim", 3)[0]).mean())


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "unipc"])
def test_deterministic_schedulers_reach_the_same_picture(
    tiny: LoadedModel, reference: tuple[Picture, float], name: str
) -> None:
    """All solve one differential equation: with many steps they must meet, or one misreads the model."""
    many, apart = reference
    difference = np.abs(many - _draw(tiny, name, 50)[0]).mean()
    assert difference < 0.25 * apart


def test_the_models_own_scheduler_comes_first(tiny: LoadedModel) -> None:
    assert tiny.card.limits.schedulers == ("ddim", "euler", "euler_ancestral", "dpmpp_2m", "unipc")
    assert schedulers.names_for(PNDMScheduler())[:2] == ("pndm", "ddim")
    assert schedulers.names_for(FlowMatchEulerDiscreteScheduler()) == ("flow_euler",)


def test_a_scheduler_with_an_extra_call_still_reports_its_steps(tiny: LoadedModel) -> None:
    own = PNDMScheduler(skip_prk_steps=True, prediction_type="v_prediction", steps_offset=1)
    limits = replace(tiny.card.limits, schedulers=schedulers.names_for(own))
    model = replace(tiny, card=replace(tiny.card, limits=limits), own_scheduler=own)
    _, reported, broken = _draw(model, "pndm", 4)
    assert reported == [1, 2, 3, 4, 4] and not broken


def test_each_batch_gets_a_fresh_scheduler(tiny: LoadedModel) -> None:
    assert tiny.new_scheduler("dpmpp_2m") is not tiny.new_scheduler("dpmpp_2m")
    first = _draw(tiny, "dpmpp_2m", 3)[0]
    assert np.array_equal(first, _draw(tiny, "dpmpp_2m", 3)[0])
