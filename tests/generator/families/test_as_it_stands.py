"""What a picture looks like between two steps, as its scheduler expects it to end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import PNDMScheduler

from services.generator import schedulers
from services.generator.families.base import Denoising, Family
from services.generator.families.sd3 import StableDiffusion3
from services.generator.pipelines import LoadedModel
from tests.generator.families.running import RECORD


@torch.inference_mode()
def _after_steps(family: Family, scheduler: str) -> list[Denoising]:
    (one,) = family.begin([replace(RECORD, scheduler=scheduler, steps=6)])
    after = []
    while not one.is_done:
        family.advance(one, family.predict([one])[0])
        after.append(replace(one))
    return after


@pytest.mark.parametrize("scheduler", schedulers.CLASSES)
def test_nothing_is_left_to_expect_after_the_last_step(tiny: LoadedModel, scheduler: str) -> None:
    first, *_, last = _after_steps(tiny.family, scheduler)
    # The first of the training timesteps, where DDIM ends, has hardly any noise, but not none.
    assert (last.as_it_stands().latents - last.latents).abs().mean() < 0.02
    assert (first.as_it_stands().latents - first.latents).abs().max() > 1


def test_flow_matching_shows_where_the_velocity_leads(sd3: StableDiffusion3) -> None:
    first, *_, last = _after_steps(sd3, "flow_euler")
    assert torch.allclose(last.as_it_stands().latents, last.latents, atol=1e-4)
    assert not torch.allclose(first.as_it_stands().latents, first.latents, atol=0.1)


def test_a_scheduler_that_expects_nothing_shows_the_latents() -> None:
    latents, output = torch.randn(2, 1, 4, 8, 8)
    scheduler = PNDMScheduler(skip_prk_steps=True)
    scheduler.set_timesteps(5)
    stepped = schedulers.step(scheduler, output, scheduler.timesteps[0], latents, torch.Generator())
    assert stepped.clean is stepped.latents


@torch.inference_mode()
def test_a_decoder_that_draws_noise_takes_none_of_the_pictures(tiny: LoadedModel) -> None:
    (one,) = tiny.family.begin([replace(RECORD, scheduler="ddim")])
    state = one.generator.get_state()
    torch.randn(3, generator=one.as_it_stands().generator)
    assert torch.equal(one.generator.get_state(), state)
