"""Steps made of what was seen are the stock scheduler's, whoever else takes one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from services.generator import schedulers
from services.generator.families.base import Family
from services.generator.families.history_steps import History, HistorySteps
from tests.generator.families.running import RECORD
from tests.generator.families.test_image_to_image import PICTURES
from tests.generator.families.test_inpainting import MASKS

_VELOCITY: dict[str, Any] = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
SCHEDULERS: dict[str, Any] = {
    "dpmpp_2m": DPMSolverMultistepScheduler(),
    "dpmpp_2m, velocity": DPMSolverMultistepScheduler(**_VELOCITY),
    "dpmpp, third order": DPMSolverMultistepScheduler(solver_order=3),
    "unipc": UniPCMultistepScheduler(),
    "unipc, velocity": UniPCMultistepScheduler(**_VELOCITY),
    "unipc, noise, third order": UniPCMultistepScheduler(
        predict_x0=False, solver_order=3, final_sigmas_type="sigma_min"
    ),
}
OTHERS: dict[str, Any] = {
    "another kind": DDIMScheduler(),
    "draws noise": DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"),
    "has a threshold": UniPCMultistepScheduler(thresholding=True),
}
SHAPE = (4, 8, 8)


def _scheduler(own: Any, steps: int) -> Any:
    scheduler = type(own).from_config(own.config)
    scheduler.set_timesteps(steps)
    return scheduler


def _begun(own: Any, steps: int, skipped: int = 0, dtype: torch.dtype = torch.float32) -> History | None:
    scheduler = _scheduler(own, steps)
    latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    return HistorySteps().begin(scheduler, tuple(scheduler.timesteps[skipped:]), latents)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(("steps", "skipped"), [(1, 0), (7, 0), (7, 4), (30, 0)])
def test_each_step_is_the_stock_schedulers(name: str, steps: int, skipped: int) -> None:
    scheduler, history = _scheduler(SCHEDULERS[name], steps), _begun(SCHEDULERS[name], steps, skipped)
    assert history is not None
    generator = torch.Generator().manual_seed(0)
    theirs = torch.randn(SHAPE, generator=generator)[None]
    for number, timestep in enumerate(scheduler.timesteps[skipped:]):
        output = torch.randn(SHAPE, generator=generator)
        stepped = schedulers.step(scheduler, output[None], timestep, theirs, generator)
        found, theirs = history.step(number, output), stepped.latents
        for own, stock in zip(found, stepped, strict=True):
            assert torch.allclose(own, stock[0], rtol=1e-4, atol=1e-4 * float(stock.abs().max()))


@pytest.mark.parametrize("name", OTHERS)
def test_schedulers_that_do_more_take_their_own_steps(name: str) -> None:
    assert _begun(OTHERS[name], 7) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_where_the_stock_scheduler_rounds(dtype: torch.dtype) -> None:
    assert _begun(SCHEDULERS["unipc"], 7, dtype=dtype) is None


def test_a_step_that_is_taken_again_gives_the_same() -> None:
    """Where memory ran out in the middle of a call, its pictures are stepped again in smaller ones."""
    history = _begun(SCHEDULERS["unipc"], 5)
    assert history is not None
    outputs = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    for number, output in enumerate(outputs):
        first, again = history.step(number, output), history.step(number, output)
        assert torch.equal(first.latents, again.latents) and torch.equal(first.clean, again.clean)


def test_factors_are_read_off_once_for_a_schedule_and_the_scheduler_is_left_as_it_was() -> None:
    kept, scheduler = HistorySteps(), _scheduler(SCHEDULERS["unipc"], 5)
    timesteps = tuple(scheduler.timesteps)
    first, second = (kept.begin(scheduler, timesteps, torch.zeros(SHAPE)) for _ in range(2))
    assert first is not None and second is not None
    assert first.factors is second.factors and first.seen is not second.seen
    assert scheduler.step_index is None and scheduler.last_sample is None
    part = kept.begin(scheduler, timesteps[2:], torch.zeros(SHAPE))
    assert part is not None and part.factors.shape == (3, 2, 4)


@torch.inference_mode()
def test_pictures_that_something_is_done_to_between_steps_take_their_own(four_channels: Family) -> None:
    plain = replace(RECORD, scheduler="unipc")
    started = replace(plain, strength=0.6, initial_image_content_hash="gradient")
    masked = replace(started, mask_content_hash="left")
    again = replace(started, second_strength=0.4)
    begun = four_channels.begin([plain, started, masked, again], PICTURES, MASKS)
    assert [one.history is None for one in begun] == [False, False, True, True]
    assert all(one.factors is None for one in begun)
