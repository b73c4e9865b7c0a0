"""Second passes against two calls of the stock image-to-image pipelines, chained in latent space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline

from services.generator import schedulers
from services.generator.domain import GenerationRecord, NoisePart
from services.generator.families.base import Family
from services.generator.families.sdxl import StableDiffusionXL
from tests.generator.families.running import LATENT_TOLERANCE, Run, apart, assert_same, stock, together
from tests.generator.families.test_image_to_image import PICTURES, RECORD

TWICE = replace(RECORD, second_strength=0.45)


@pytest.fixture(params=["four_channels", "sdxl"])
def family(request: pytest.FixtureRequest) -> Family:
    """A family whose stock pipelines take latents in a picture's place."""
    found: Family = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("scheduler", schedulers.CLASSES)
@pytest.mark.parametrize("second_strength", [0.15, 0.45, 1.0])
def test_each_step_is_that_of_two_chained_calls(family: Family, scheduler: str, second_strength: float) -> None:
    record = replace(TWICE, scheduler=scheduler, second_strength=second_strength)
    ours = ours_of(family, record)
    first, second = theirs_of(family, record)
    assert (len(first.latents), len(second.latents)) == (4, {0.15: 1, 0.45: 3, 1.0: 7}[second_strength])
    # The last step of the first pass ends in the noised latents that the second begins with.
    assert_same(_without(ours, 3), Run(first.latents[:3] + second.latents, second.picture), tolerance=1e-3)


def test_the_second_pass_counts_and_its_noise_is_fresh(tiny_family: Family) -> None:
    record = replace(TWICE, second_strength=1.0)
    once = together(tiny_family, [RECORD], initial_images=PICTURES)[0]
    twice = ours_of(tiny_family, record)
    assert len(once.latents) == 4 and len(twice.latents) == 11 == record.denoising_steps
    assert torch.allclose(once.latents[2], twice.latents[2], atol=LATENT_TOLERANCE)
    # At the very start of the schedule of this model there is nothing but noise: it would be the seed's first again.
    first = together(tiny_family, [replace(RECORD, strength=1.0)], initial_images=PICTURES)[0]
    assert (twice.latents[4] - first.latents[0]).abs().max() > 0.5


def test_the_noise_of_a_mix_does_not_come_again(tiny_family: Family) -> None:
    """The seed's first noise is the whole mix: what the second pass draws is not that."""
    record = replace(TWICE, noise_mix=(NoisePart(TWICE.seed, 1.0),))
    mixed, drawn = ours_of(tiny_family, record), ours_of(tiny_family, TWICE)
    assert_same(mixed, drawn)


def test_the_same_record_gives_the_same_picture_and_mates_change_nothing(family: Family) -> None:
    mates = [RECORD, replace(TWICE, scheduler="euler_ancestral", seed=3, second_strength=0.9)]
    crowd = together(family, [TWICE, *mates], gap=1, initial_images=PICTURES)
    assert_same(crowd[0], ours_of(family, TWICE))
    assert_same(crowd[1], together(family, mates[:1], initial_images=PICTURES)[0])
    assert_same(crowd[2], ours_of(family, mates[1]))
    assert apart(crowd[0], crowd[1]) > 100


def test_a_scheduler_with_an_extra_call_makes_it_in_both_passes(own_four_channels: Family) -> None:
    family = own_four_channels
    family.pipeline.scheduler = PNDMScheduler(skip_prk_steps=True, prediction_type="v_prediction", steps_offset=1)
    record = replace(TWICE, scheduler="pndm", strength=1.0, second_strength=1.0)
    first, second = theirs_of(family, record)
    assert len(first.latents) == len(second.latents) == 8
    ours = _without(ours_of(family, record), 7)
    assert_same(ours, Run(first.latents[:7] + second.latents, second.picture))


def ours_of(family: Family, record: GenerationRecord) -> Run:
    """The picture by the family, alone."""
    return together(family, [record], initial_images=PICTURES)[0]


def theirs_of(family: Family, record: GenerationRecord) -> tuple[Run, Run]:
    """Both passes by the stock image-to-image pipeline; the first one's picture are its latents."""
    parts: dict[str, Any] = family.pipeline.components
    if isinstance(family, StableDiffusionXL):
        pipeline: Any = StableDiffusionXLImg2ImgPipeline(**parts)
    else:
        pipeline = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(record.seed)
    image = PICTURES[record.initial_image_content_hash]
    options = {"strength": record.strength, "output_type": "latent"}
    first = stock(pipeline, record, generator=generator, image=image, **options)
    latents = first.latents[-1][None]
    return first, stock(pipeline, record, generator=generator, image=latents, strength=record.second_strength)


def _without(run: Run, step: int) -> Run:
    return Run(run.latents[:step] + run.latents[step + 1 :], run.picture)
