"""Stable Diffusion against StableDiffusionPipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from services.common.errors import InvalidInputError
from services.common.settings import Settings
from services.generator import noise, schedulers
from services.generator.domain import GenerationRecord, NoisePart
from services.generator.families.base import Family
from services.generator.families.stable_diffusion import StableDiffusion
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.families import running
from tests.generator.families.running import alone, apart, assert_same, stock, together
from tests.generator.tiny import TINY

RECORD = replace(running.RECORD, scheduler="ddim")
MIX = (NoisePart(4, 1.0), NoisePart(5, -0.7, (1.0, 0.0, 0.0, 1.0)))
NEGATIVE = {"negative_prompt": "a green cow"}
MATES = [
    replace(RECORD, prompt="two BLUE moons", seed=8, steps=9, scheduler="unipc", guidance_scale=2.0),
    replace(RECORD, prompt="a cup", seed=9, steps=3, scheduler="euler_ancestral", guidance_scale=1.0),
    replace(RECORD, seed=10, steps=6, scheduler="dpmpp_2m", guidance_scale=6.5, **NEGATIVE),
    replace(RECORD, seed=11, scheduler="euler", noise_mix=MIX),
]


@pytest.fixture(scope="session")
def family(tiny: LoadedModel) -> Family:
    """The family of the tiny pipeline."""
    assert isinstance(tiny.family, StableDiffusion)
    return tiny.family


@pytest.fixture
def own_family(models_dir: Path) -> Family:
    """One that a test may change."""
    return load_model(TINY, Settings(models_dir=models_dir, device="cpu")).family


@pytest.mark.parametrize("scheduler", schedulers.CLASSES)
@pytest.mark.parametrize(
    "changes",
    [{}, {"guidance_scale": 1.0}, {"guidance_scale": 0.0}, NEGATIVE, {"noise_mix": MIX}],
    ids=["guided", "unguided", "scale-0", "negative-prompt", "noise-mix"],
)
def test_each_step_is_the_stock_pipelines(family: Family, scheduler: str, changes: dict[str, object]) -> None:
    record = replace(RECORD, scheduler=scheduler, **changes)
    theirs = _stock(family, record)
    assert_same(alone(family, record), theirs)
    if changes:
        assert apart(theirs, _stock(family, replace(RECORD, scheduler=scheduler))) > 100


def test_mates_with_other_settings_at_other_steps_change_nothing(family: Family) -> None:
    records = [RECORD, *MATES]
    for ours, record in zip(together(family, records, gap=1), records, strict=True):
        # Of a model trained to zero terminal signal, Euler's first latents are in the thousands, and so is rounding.
        assert_same(ours, _stock(family, record), tolerance=1e-3)


def test_not_square(family: Family) -> None:
    wide = replace(RECORD, width_pixels=48, height_pixels=32)
    ours = alone(family, wide)
    assert ours.picture.shape == (32, 48, 3)
    assert_same(ours, _stock(family, wide))
    assert family.group(wide) != family.group(RECORD)


def test_the_initial_noise_is_the_stock_pipelines_to_the_bit(family: Family) -> None:
    (one,) = family.begin([replace(RECORD, scheduler="euler")])
    scheduler = schedulers.build("euler", family.pipeline.scheduler)
    scheduler.set_timesteps(RECORD.steps)
    generator = torch.Generator("cpu").manual_seed(RECORD.seed)
    drawn = torch.randn((1, *one.latents.shape), generator=generator, dtype=one.latents.dtype)
    assert torch.equal(one.latents, (drawn * scheduler.init_noise_sigma)[0])


def test_a_denoiser_that_is_told_the_scale_gets_no_second_half(own_family: Family) -> None:
    pipeline = own_family.pipeline
    torch.manual_seed(2)
    told = UNet2DConditionModel.from_config(pipeline.unet.config, time_cond_proj_dim=8)
    told.load_state_dict(pipeline.unet.state_dict(), strict=False)
    pipeline.unet = told.eval()
    with torch.no_grad():
        told.time_embedding.cond_proj.weight *= 8
    records = [RECORD, replace(RECORD, guidance_scale=9.0)]
    theirs = [_stock(own_family, record) for record in records]
    for ours, expected in zip(together(own_family, records, gap=1), theirs, strict=True):
        assert_same(ours, expected)
    assert apart(*theirs) > 10


def test_the_safety_checker_withholds_what_it_flags(own_family: Family) -> None:
    torch.manual_seed(3)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(vision_config=small | {"image_size": 32, "patch_size": 8}, projection_dim=8)
    checker = StableDiffusionSafetyChecker(config).eval()
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    own_family.pipeline.register_modules(safety_checker=checker, feature_extractor=CLIPImageProcessor(**sizes))
    with torch.inference_mode():
        checker.special_care_embeds_weights.fill_(2.0)
        for threshold, is_shown in ((2.0, True), (-2.0, False)):  # of cosines: none is above 2, all are above -2
            checker.concept_embeds_weights.fill_(threshold)
            pictures = own_family.decode(own_family.begin([RECORD, MATES[0]]))
            assert [picture is not None for picture in pictures] == [is_shown] * 2


def test_a_size_that_the_pipeline_would_change_is_refused(family: Family) -> None:
    with pytest.raises(InvalidInputError, match="width_pixels: is 36; allowed: multiples of 8"):
        family.begin([replace(RECORD, width_pixels=36)])


def _stock(family: Family, record: GenerationRecord) -> running.Run:
    if not record.noise_mix:
        return stock(family.pipeline, record)
    channels, factor = family.pipeline.unet.config.in_channels, family.pipeline.vae_scale_factor
    shape = (channels, record.height_pixels // factor, record.width_pixels // factor)
    mixed = noise.draw(record, shape, family.pipeline.unet.dtype, torch.Generator("cpu"))
    return stock(family.pipeline, record, latents=mixed[None])
