"""FLUX against FluxPipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from services.common.errors import InvalidInputError, UnavailableError
from services.generator import noise
from services.generator.domain import NoisePart
from services.generator.families.flux import Flux
from tests.generator.families import running, tiny_families
from tests.generator.families.running import Run, alone, apart, assert_same, stock, together

RECORD = replace(running.RECORD, scheduler="flow_euler")
MATE = replace(running.MATE, scheduler="flow_euler")


def stock_schnell(family: Flux, record: running.GenerationRecord) -> Run:
    """The stock pipeline as schnell's card calls it: with the prompt length it was trained with."""
    return stock(family.pipeline, record, max_sequence_length=256)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_each_step_is_the_stock_pipelines(dev: Flux, schnell: Flux, steps: int) -> None:
    record = replace(RECORD, steps=steps)
    assert_same(alone(dev, record), stock(dev.pipeline, record))
    assert_same(alone(schnell, record), stock_schnell(schnell, record))


def test_mates_at_other_steps_change_nothing(dev: Flux, schnell: Flux) -> None:
    records = [MATE, RECORD]
    for ours, record in zip(together(dev, records, gap=2), records, strict=True):
        assert_same(ours, stock(dev.pipeline, record))
    for ours, record in zip(together(schnell, records, gap=2), records, strict=True):
        assert_same(ours, stock_schnell(schnell, record))


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0])
def test_dev_is_told_every_scale(dev: Flux, guidance_scale: float) -> None:
    record = replace(RECORD, guidance_scale=guidance_scale)
    theirs = stock(dev.pipeline, record)
    assert_same(alone(dev, record), theirs)
    assert apart(theirs, stock(dev.pipeline, RECORD)) > 100


def test_not_square(dev: Flux, schnell: Flux) -> None:
    wide = replace(RECORD, width_pixels=56, height_pixels=24)
    ours = alone(dev, wide)
    assert ours.picture.shape == (24, 56, 3)
    assert_same(ours, stock(dev.pipeline, wide))
    mates = together(dev, [replace(MATE, width_pixels=56, height_pixels=24), wide], gap=1)
    assert_same(mates[1], stock(dev.pipeline, wide))
    assert_same(alone(schnell, wide), stock_schnell(schnell, wide))


def test_larger_pictures_shift_the_schedule_of_dev(dev: Flux, schnell: Flux) -> None:
    larger = replace(RECORD, width_pixels=64, height_pixels=64)
    small, large = (dev.begin([record])[0].timesteps[1].item() for record in (RECORD, larger))
    assert large > small + 1
    assert schnell.begin([RECORD])[0].timesteps == schnell.begin([larger])[0].timesteps


def test_a_scheduler_may_have_flow_sigmas_of_its_own(tmp_path: Path) -> None:
    pipeline = tiny_families.flux(tmp_path)
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "use_dynamic_shifting": True}
    pipeline.scheduler = DPMSolverMultistepScheduler(**flow, time_shift_type="exponential")
    record = replace(RECORD, scheduler="dpmpp_2m")
    assert_same(alone(Flux(pipeline), record), stock(pipeline, record))


def test_starts_from_a_mix_of_noises(dev: Flux) -> None:
    mixed = replace(RECORD, noise_mix=(NoisePart(3, 0.6), NoisePart(4, -0.8)))
    drawn = noise.draw(mixed, (4, 8, 8), torch.float32, torch.Generator("cpu").manual_seed(RECORD.seed))
    packed = dev.pipeline._pack_latents(drawn[None], 1, 4, 8, 8)
    assert_same(alone(dev, mixed), stock(dev.pipeline, RECORD, latents=packed))


def test_half_precision_follows_the_stock_pipeline(tmp_path: Path) -> None:
    family = Flux(tiny_families.flux(tmp_path).to(torch.bfloat16))
    assert_same(alone(family, RECORD), stock(family.pipeline, RECORD), tolerance=0.0)


def test_reads_as_many_tokens_as_the_model_was_trained_with(dev: Flux, schnell: Flux) -> None:
    assert (dev.tokenizer, dev.context_tokens) == (dev.pipeline.tokenizer_2, 512)
    assert schnell.context_tokens == 256


def test_pictures_of_one_size_share_calls(dev: Flux) -> None:
    assert dev.group(RECORD) == dev.group(MATE)
    assert dev.group(RECORD) != dev.group(replace(RECORD, width_pixels=48))


def test_refuses_a_size_that_the_stock_pipeline_rounds_off(dev: Flux) -> None:
    with pytest.raises(InvalidInputError, match=r"width_pixels: is 36; allowed: multiples of 8"):
        dev.begin([replace(RECORD, width_pixels=36)])


def test_says_that_it_reads_no_negative_prompt_and_whether_it_is_told_the_scale(dev: Flux, schnell: Flux) -> None:
    assert (dev.takes_negative_prompt, dev.takes_guidance_scale) == (False, True)
    assert (schnell.takes_negative_prompt, schnell.takes_guidance_scale) == (False, False)


def test_needs_both_text_encoders(tmp_path: Path) -> None:
    pipeline = tiny_families.flux(tmp_path)
    pipeline.text_encoder = pipeline.text_encoder_2 = None
    with pytest.raises(UnavailableError, match=r"FluxPipeline .* without text_encoder and text_encoder_2"):
        Flux(pipeline)
