"""Stable Diffusion 3 against StableDiffusion3Pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from services.common.errors import InvalidInputError, UnavailableError
from services.generator import noise
from services.generator.domain import NoisePart
from services.generator.families.sd3 import StableDiffusion3
from tests.generator.families import running, tiny_families
from tests.generator.families.running import alone, apart, assert_same, stock, together
from tests.generator.tiny import CONTEXT

RECORD = replace(running.RECORD, scheduler="flow_euler")
MATE = replace(running.MATE, scheduler="flow_euler", negative_prompt="a green cow")
UNGUIDED = replace(running.MATE, scheduler="flow_euler", prompt="a cup", guidance_scale=1.0, seed=9)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_each_step_is_the_stock_pipelines(sd3: StableDiffusion3, steps: int) -> None:
    record = replace(RECORD, steps=steps)
    assert_same(alone(sd3, record), stock(sd3.pipeline, record))


def test_mates_at_other_steps_change_nothing(sd3: StableDiffusion3) -> None:
    records = [MATE, UNGUIDED, RECORD]
    for ours, record in zip(together(sd3, records, gap=2), records, strict=True):
        assert_same(ours, stock(sd3.pipeline, record))


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0])
def test_without_guidance(sd3: StableDiffusion3, guidance_scale: float) -> None:
    record = replace(RECORD, guidance_scale=guidance_scale)
    theirs = stock(sd3.pipeline, record)
    assert_same(alone(sd3, record), theirs)
    assert apart(theirs, stock(sd3.pipeline, RECORD)) > 100


def test_negative_prompt(sd3: StableDiffusion3) -> None:
    record = replace(RECORD, negative_prompt="a green cow")
    theirs = stock(sd3.pipeline, record)
    assert_same(alone(sd3, record), theirs)
    assert apart(theirs, stock(sd3.pipeline, RECORD)) > 100


def test_not_square(sd3: StableDiffusion3) -> None:
    tall = replace(RECORD, width_pixels=24, height_pixels=48)
    ours = alone(sd3, tall)
    assert ours.picture.shape == (48, 24, 3)
    assert_same(ours, stock(sd3.pipeline, tall))
    mates = together(sd3, [replace(MATE, width_pixels=24, height_pixels=48), tall], gap=1)
    assert_same(mates[1], stock(sd3.pipeline, tall))


def test_without_t5(tmp_path: Path, sd3: StableDiffusion3) -> None:
    family = StableDiffusion3(tiny_families.sd3(tmp_path, has_t5=False))
    records = [MATE, RECORD]
    for ours, record in zip(together(family, records, gap=1), records, strict=True):
        assert_same(ours, stock(family.pipeline, record))
    assert (family.tokenizer, family.context_tokens) == (family.pipeline.tokenizer, CONTEXT)
    assert (sd3.tokenizer, sd3.context_tokens) == (sd3.pipeline.tokenizer_3, 256)


def test_larger_pictures_shift_the_schedule_where_the_model_says_so(tmp_path: Path) -> None:
    family = StableDiffusion3(tiny_families.sd3(tmp_path, use_dynamic_shifting=True))
    larger = replace(RECORD, width_pixels=64, height_pixels=64)
    for record in (RECORD, larger):
        assert_same(alone(family, record), stock(family.pipeline, record))
    small, large = (family.begin([record])[0].timesteps[1].item() for record in (RECORD, larger))
    assert large > small + 1


def test_noise_that_a_scheduler_adds_comes_from_the_pictures_seed(tmp_path: Path) -> None:
    family = StableDiffusion3(tiny_families.sd3(tmp_path))
    without = alone(family, RECORD)
    family.pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True)
    first = alone(family, RECORD)
    assert_same(together(family, [MATE, RECORD], gap=1)[1], first)
    assert apart(first, without) > 100


def test_starts_from_a_mix_of_noises(sd3: StableDiffusion3) -> None:
    mixed = replace(RECORD, noise_mix=(NoisePart(3, 0.6), NoisePart(4, -0.8)))
    drawn = noise.draw(mixed, (4, 8, 8), torch.float32, torch.Generator("cpu").manual_seed(RECORD.seed))
    assert_same(alone(sd3, mixed), stock(sd3.pipeline, RECORD, latents=drawn[None]))


def test_half_precision_follows_the_stock_pipeline(tmp_path: Path) -> None:
    family = StableDiffusion3(tiny_families.sd3(tmp_path).to(torch.bfloat16))
    assert_same(alone(family, RECORD), stock(family.pipeline, RECORD), tolerance=0.0)


def test_pictures_of_one_size_share_calls(sd3: StableDiffusion3) -> None:
    assert sd3.group(RECORD) == sd3.group(MATE) == sd3.group(UNGUIDED)
    assert sd3.group(RECORD) != sd3.group(replace(RECORD, width_pixels=48))


def test_refuses_a_size_between_patches(sd3: StableDiffusion3) -> None:
    with pytest.raises(InvalidInputError, match=r"width_pixels: is 36; allowed: multiples of 8"):
        sd3.begin([replace(RECORD, width_pixels=36)])


def test_refuses_a_size_for_which_no_places_are_learned(sd3: StableDiffusion3) -> None:
    largest = replace(RECORD, steps=1, width_pixels=192)
    assert_same(alone(sd3, largest), stock(sd3.pipeline, largest))
    with pytest.raises(InvalidInputError, match=r"width_pixels: is 200; allowed: up to 192"):
        sd3.begin([replace(largest, width_pixels=200)])


def test_needs_both_clip_encoders(tmp_path: Path) -> None:
    pipeline = tiny_families.sd3(tmp_path, has_t5=False)
    pipeline.text_encoder = None
    with pytest.raises(UnavailableError, match=r"StableDiffusion3Pipeline .* without text_encoder$"):
        StableDiffusion3(pipeline)
