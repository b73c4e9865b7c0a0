"""Steps taken together are the stock scheduler's, and no picture's depend on who shares them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, UniPCMultistepScheduler

from services.generator import schedulers
from services.generator.families import linear_steps
from services.generator.families.base import Denoising, Family
from services.generator.families.linear_steps import LinearSteps
from tests.generator.families.running import RECORD
from tests.generator.families.test_image_to_image import PICTURES
from tests.generator.families.test_inpainting import MASKS

PLAIN: dict[str, Any] = {
    "noise": DDIMScheduler(clip_sample=False),
    "velocity": DDIMScheduler(
        clip_sample=False, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    ),
    "the latents themselves": DDIMScheduler(clip_sample=False, prediction_type="sample", set_alpha_to_one=False),
}
"""By what the denoiser predicts."""
OTHERS: dict[str, Any] = {
    "clips": DDIMScheduler(clip_sample=True),
    "has a threshold": DDIMScheduler(clip_sample=False, thresholding=True),
    "has large latents": EulerDiscreteScheduler(),
    "remembers outputs": UniPCMultistepScheduler(),
}


def _begun(own: Any, steps: int, *, seed: int = 0, skipped: int = 0, dtype: torch.dtype = torch.float32) -> Denoising:
    """A picture of random latents with a schedule of its own, of which the first steps may be left out."""
    scheduler = type(own).from_config(own.config)
    scheduler.set_timesteps(steps)
    generator = torch.Generator("cpu").manual_seed(seed)
    timesteps = tuple(scheduler.timesteps[skipped:])
    latents = torch.randn(4, 8, 8, generator=generator, dtype=dtype)
    factors = LinearSteps().factors(scheduler, timesteps, latents)
    return Denoising(RECORD, {}, scheduler, timesteps, latents, generator, factors=factors)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(("steps", "skipped"), [(1, 0), (7, 0), (7, 4)])
def test_each_step_is_the_stock_schedulers(name: str, steps: int, skipped: int) -> None:
    one = _begun(PLAIN[name], steps, skipped=skipped)
    assert one.factors is not None and len(one.factors) == steps - skipped
    for timestep in one.timesteps:
        before, output = one.latents, torch.randn(4, 8, 8, generator=one.generator)
        theirs = schedulers.step(one.scheduler, output[None], timestep, before[None], one.generator)
        linear_steps.step([one], [output])
        assert one.clean is not None
        assert torch.allclose(one.latents, theirs.latents[0], rtol=1e-5, atol=1e-5)
        assert torch.allclose(one.clean, theirs.clean[0], rtol=1e-5, atol=1e-5)
    assert one.is_done


@pytest.mark.parametrize("name", OTHERS)
def test_schedulers_that_do_more_take_their_own_steps(name: str) -> None:
    assert _begun(OTHERS[name], 7).factors is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_where_the_stock_scheduler_rounds(dtype: torch.dtype) -> None:
    assert _begun(PLAIN["noise"], 7, dtype=dtype).factors is None


def test_mates_at_other_steps_change_nothing() -> None:
    asked = [("noise", 7, 0), ("velocity", 5, 1), ("noise", 20, 2)]
    alone, together = ([_begun(PLAIN[name], steps, seed=seed) for name, steps, seed in asked] for _ in range(2))
    outputs = torch.randn(3, 4, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    for one, own in zip(alone, outputs, strict=True):
        for output in own:
            linear_steps.step([one], [output])
    # Each joins one step after the one before it.
    for call in range(6):
        joined = [index for index in range(3) if 0 <= call - index < 4]
        linear_steps.step([together[index] for index in joined], [outputs[index, call - index] for index in joined])
    for one, mate in zip(alone, together, strict=True):
        assert one.step == mate.step == 4 and one.clean is not None and mate.clean is not None
        assert torch.equal(one.latents, mate.latents) and torch.equal(one.clean, mate.clean)


def test_factors_are_read_off_once_for_a_schedule() -> None:
    kept, latents, scheduler = LinearSteps(), torch.zeros(4, 8, 8), DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(5)
    timesteps = tuple(scheduler.timesteps)
    first = kept.factors(scheduler, timesteps, latents)
    assert first is not None and kept.factors(scheduler, timesteps, latents) is first
    part = kept.factors(scheduler, timesteps[2:], latents)
    assert part is not None and torch.equal(part, first[2:])


@torch.inference_mode()
def test_pictures_that_something_is_done_to_between_steps_take_their_own(four_channels: Family) -> None:
    plain = replace(RECORD, scheduler="ddim")
    started = replace(plain, strength=0.6, initial_image_content_hash="gradient")
    masked = replace(started, mask_content_hash="left")
    again = replace(started, second_strength=0.4)
    begun = four_channels.begin([plain, started, masked, again], PICTURES, MASKS)
    assert [one.factors is None for one in begun] == [False, False, True, True]
