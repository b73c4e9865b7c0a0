"""PixArt-Sigma and PixArt-Alpha against their stock pipelines."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from services.common.errors import InvalidInputError, UnavailableError
from services.generator import noise
from services.generator.domain import GenerationRecord, NoisePart
from services.generator.families.pixart import PixArt
from tests.generator.families import running, tiny_families
from tests.generator.families.running import Run, alone, apart, assert_same, together

RECORD = replace(running.RECORD, scheduler="dpmpp_2m")
MATE = replace(running.MATE, scheduler="euler_ancestral", negative_prompt="a green cow")
UNGUIDED = replace(running.MATE, scheduler="ddim", prompt="a cup", guidance_scale=1.0, seed=9)


def stock(family: PixArt, record: GenerationRecord, **options: torch.Tensor) -> Run:
    """The stock pipeline at the size asked for, with the prompt as it is."""
    return running.stock(family.pipeline, record, clean_caption=False, use_resolution_binning=False, **options)


@pytest.fixture(params=["sigma", "alpha"])
def pixart(request: pytest.FixtureRequest) -> PixArt:
    """Both kinds."""
    family: PixArt = request.getfixturevalue(request.param)
    return family


@pytest.mark.parametrize("scheduler", ["dpmpp_2m", "euler", "euler_ancestral", "ddim", "unipc"])
def test_each_step_is_the_stock_pipelines(pixart: PixArt, scheduler: str) -> None:
    record = replace(RECORD, scheduler=scheduler)
    assert_same(alone(pixart, record), stock(pixart, record))


@pytest.mark.parametrize("scheduler", ["euler", "ddim"])
def test_one_step(pixart: PixArt, scheduler: str) -> None:
    record = replace(RECORD, scheduler=scheduler, steps=1)
    assert_same(alone(pixart, record), stock(pixart, record))


def test_mates_at_other_steps_change_nothing(pixart: PixArt) -> None:
    records = [MATE, UNGUIDED, RECORD]
    for ours, record in zip(together(pixart, records, gap=2), records, strict=True):
        assert_same(ours, stock(pixart, record))


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0])
def test_without_guidance(pixart: PixArt, guidance_scale: float) -> None:
    record = replace(RECORD, guidance_scale=guidance_scale)
    theirs = stock(pixart, record)
    assert_same(alone(pixart, record), theirs)
    assert apart(theirs, stock(pixart, RECORD)) > 100


def test_negative_prompt(pixart: PixArt) -> None:
    record = replace(RECORD, negative_prompt="A green cow")
    theirs = stock(pixart, record)
    assert_same(alone(pixart, record), theirs)
    assert apart(theirs, stock(pixart, RECORD)) > 100


def test_not_square(pixart: PixArt) -> None:
    wide = replace(RECORD, width_pixels=48, height_pixels=24)
    ours = alone(pixart, wide)
    assert ours.picture.shape == (24, 48, 3)
    assert_same(ours, stock(pixart, wide))
    mates = together(pixart, [replace(MATE, width_pixels=48, height_pixels=24), wide], gap=1)
    assert_same(mates[1], stock(pixart, wide))


@torch.inference_mode()
def test_only_the_prompts_tokens_are_heeded(sigma: PixArt) -> None:
    (one,) = sigma.begin([RECORD])
    states, mask = one.conditioning["prompt_embeds"], one.conditioning["prompt_attention_mask"][:, None]

    def predicted(changed: torch.Tensor) -> torch.Tensor:
        return sigma.predict([replace(one, conditioning={**one.conditioning, "prompt_embeds": changed})])

    before = predicted(states)
    assert torch.allclose(predicted(states + 10 * (1 - mask)), before, atol=1e-6)
    assert not torch.allclose(predicted(states + 10 * mask), before, atol=1e-3)


def test_a_transformer_may_predict_no_variance() -> None:
    family = PixArt(tiny_families.pixart(predicts_variance=False))
    assert_same(alone(family, RECORD), stock(family, RECORD))


def test_starts_from_a_mix_of_noises(sigma: PixArt) -> None:
    mixed = replace(RECORD, noise_mix=(NoisePart(3, 0.6), NoisePart(4, -0.8)))
    drawn = noise.draw(mixed, (4, 8, 8), torch.float32, torch.Generator("cpu").manual_seed(RECORD.seed))
    assert_same(alone(sigma, mixed), stock(sigma, RECORD, latents=drawn[None]))


def test_half_precision_follows_the_stock_pipeline() -> None:
    family = PixArt(tiny_families.pixart().to(torch.bfloat16))
    assert_same(alone(family, RECORD), stock(family, RECORD), tolerance=0.0)


def test_reads_as_many_tokens_as_the_stock_pipelines(sigma: PixArt, alpha: PixArt) -> None:
    assert (sigma.context_tokens, alpha.context_tokens) == (300, 120)
    assert len(sigma.begin([RECORD])[0].conditioning["prompt_embeds"]) == 300


def test_pictures_of_one_size_share_calls(sigma: PixArt) -> None:
    assert sigma.group(RECORD) == sigma.group(MATE) == sigma.group(UNGUIDED)
    assert sigma.group(RECORD) != sigma.group(replace(RECORD, width_pixels=48))


def test_refuses_a_size_between_patches(sigma: PixArt) -> None:
    with pytest.raises(InvalidInputError, match=r"height_pixels: is 36; allowed: multiples of 8"):
        sigma.begin([replace(RECORD, height_pixels=36)])


def test_needs_its_text_encoder() -> None:
    pipeline = tiny_families.pixart()
    pipeline.text_encoder = None
    with pytest.raises(UnavailableError, match=r"PixArtSigmaPipeline .* without text_encoder"):
        PixArt(pipeline)
