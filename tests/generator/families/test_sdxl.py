"""Stable Diffusion XL against StableDiffusionXLPipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from services.common.errors import InvalidInputError, UnavailableError
from services.generator import noise
from services.generator.domain import NoisePart
from services.generator.families.sdxl import StableDiffusionXL
from tests.generator.families import running, tiny_families
from tests.generator.families.running import alone, apart, assert_same, stock, together

RECORD = replace(running.RECORD, scheduler="euler")
MATE = replace(running.MATE, scheduler="ddim", negative_prompt="a green cow")
UNGUIDED = replace(running.MATE, scheduler="euler_ancestral", prompt="a cup", guidance_scale=1.0, seed=9)


@pytest.mark.parametrize("scheduler", ["euler", "euler_ancestral", "ddim", "dpmpp_2m", "unipc"])
def test_each_step_is_the_stock_pipelines(sdxl: StableDiffusionXL, scheduler: str) -> None:
    record = replace(RECORD, scheduler=scheduler)
    assert_same(alone(sdxl, record), stock(sdxl.pipeline, record))


def test_mates_at_other_steps_change_nothing(sdxl: StableDiffusionXL) -> None:
    records = [MATE, UNGUIDED, RECORD]
    for ours, record in zip(together(sdxl, records, gap=2), records, strict=True):
        assert_same(ours, stock(sdxl.pipeline, record))


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0])
def test_without_guidance(sdxl: StableDiffusionXL, guidance_scale: float) -> None:
    record = replace(RECORD, guidance_scale=guidance_scale)
    theirs = stock(sdxl.pipeline, record)
    assert_same(alone(sdxl, record), theirs)
    assert apart(theirs, stock(sdxl.pipeline, RECORD)) > 100


def test_negative_prompt(sdxl: StableDiffusionXL) -> None:
    record = replace(RECORD, negative_prompt="a green cow")
    theirs = stock(sdxl.pipeline, record)
    assert_same(alone(sdxl, record), theirs)
    assert apart(theirs, stock(sdxl.pipeline, RECORD)) > 100


def test_an_empty_negative_prompt_is_read_where_zeros_are_not_asked_for(tmp_path: Path) -> None:
    family = StableDiffusionXL(tiny_families.sdxl(tmp_path, force_zeros_for_empty_prompt=False))
    read = stock(family.pipeline, RECORD)
    assert_same(alone(family, RECORD), read)
    family.pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    assert apart(read, stock(family.pipeline, RECORD)) > 100


def test_not_square(sdxl: StableDiffusionXL) -> None:
    wide = replace(RECORD, width_pixels=48, height_pixels=24)
    ours = alone(sdxl, wide)
    assert ours.picture.shape == (24, 48, 3)
    assert_same(ours, stock(sdxl.pipeline, wide))
    mates = together(sdxl, [replace(MATE, width_pixels=48, height_pixels=24), wide], gap=1)
    assert_same(mates[1], stock(sdxl.pipeline, wide))


def test_the_size_is_told_to_the_denoiser(sdxl: StableDiffusionXL) -> None:
    wide = replace(RECORD, width_pixels=48, height_pixels=24)
    other = stock(sdxl.pipeline, wide, original_size=(48, 24), target_size=(48, 24))
    assert apart(alone(sdxl, wide), other) > 100


def test_a_denoiser_that_is_told_the_scale_gets_no_second_half(tmp_path: Path) -> None:
    family = StableDiffusionXL(tiny_families.sdxl(tmp_path, time_cond_proj_dim=8))
    with torch.no_grad():
        family.pipeline.unet.time_embedding.cond_proj.weight *= 8
    theirs = [stock(family.pipeline, record) for record in (RECORD, MATE)]
    for ours, expected in zip(together(family, [RECORD, MATE], gap=1), theirs, strict=True):
        assert_same(ours, expected)
    assert apart(theirs[0], stock(family.pipeline, replace(RECORD, guidance_scale=9.0))) > 10


@pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated")
def test_the_autoencoder_decodes_in_float32_and_is_half_again_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = StableDiffusionXL(tiny_families.sdxl(tmp_path).to(torch.float16))
    vae = family.pipeline.vae
    seen: list[torch.dtype] = []
    handle = vae.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    assert_same(alone(family, RECORD), stock(family.pipeline, RECORD), tolerance=0.0)
    handle.remove()
    assert seen == [torch.float32] * 2 and vae.dtype == torch.float16

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(vae, "decode", fail)
    with torch.inference_mode(), pytest.raises(torch.OutOfMemoryError):
        family.decode(family.begin([RECORD]))
    assert vae.dtype == torch.float16


def test_latents_of_a_known_mean_are_put_back(tmp_path: Path) -> None:
    family = StableDiffusionXL(tiny_families.sdxl(tmp_path))
    plain = alone(family, RECORD)
    family.pipeline.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 2.0], latents_std=[1.0, 2.0, 0.5, 3.0])
    ours = alone(family, RECORD)
    assert_same(ours, stock(family.pipeline, RECORD))
    assert np.abs(ours.picture - plain.picture).mean() > 1


def test_the_watermark_of_the_pipeline_is_put_on(tmp_path: Path) -> None:
    class Mark:
        def apply_watermark(self, pixels: torch.Tensor) -> torch.Tensor:
            return -pixels

    family = StableDiffusionXL(tiny_families.sdxl(tmp_path))
    plain = alone(family, RECORD)
    family.pipeline.watermark = Mark()
    ours = alone(family, RECORD)
    assert_same(ours, stock(family.pipeline, RECORD))
    assert np.abs(ours.picture - plain.picture).mean() > 1


def test_starts_from_a_mix_of_noises(sdxl: StableDiffusionXL) -> None:
    mixed = replace(RECORD, noise_mix=(NoisePart(3, 0.6), NoisePart(4, -0.8)))
    drawn = noise.draw(mixed, (4, 8, 8), torch.float32, torch.Generator("cpu").manual_seed(RECORD.seed))
    assert_same(alone(sdxl, mixed), stock(sdxl.pipeline, RECORD, latents=drawn[None]))


def test_half_precision_follows_the_stock_pipeline(tmp_path: Path) -> None:
    family = StableDiffusionXL(tiny_families.sdxl(tmp_path).to(torch.bfloat16))
    assert_same(alone(family, RECORD), stock(family.pipeline, RECORD), tolerance=0.0)


def test_pictures_of_one_size_share_calls(sdxl: StableDiffusionXL) -> None:
    assert sdxl.group(RECORD) == sdxl.group(MATE) == sdxl.group(UNGUIDED)
    assert sdxl.group(RECORD) != sdxl.group(replace(RECORD, width_pixels=48))
    assert sdxl.group(replace(RECORD, height_pixels=48)) != sdxl.group(replace(RECORD, width_pixels=48))


def test_one_denoiser_call_holds_every_row(sdxl: StableDiffusionXL) -> None:
    rows: list[tuple[int, list[float]]] = []

    def count(_: object, args: tuple[torch.Tensor, ...]) -> None:
        rows.append((len(args[0]), args[1].tolist()))

    handle = sdxl.pipeline.unet.register_forward_pre_hook(count)
    with torch.inference_mode():
        begun = sdxl.begin([RECORD, MATE, UNGUIDED])
        sdxl.predict(begun)
        sdxl.predict(begun[2:])
    handle.remove()
    first, second, third = (float(one.timesteps[0]) for one in begun)
    assert rows == [(5, [first, second, first, second, third]), (1, [third])]


def test_refuses_a_size_between_latents(sdxl: StableDiffusionXL) -> None:
    with pytest.raises(InvalidInputError, match=r"height_pixels: is 34; allowed: multiples of 4"):
        sdxl.begin([replace(RECORD, height_pixels=34)])


def test_needs_its_text_encoders(tmp_path: Path) -> None:
    pipeline = tiny_families.sdxl(tmp_path)
    pipeline.text_encoder_2 = None
    with pytest.raises(UnavailableError, match=r"StableDiffusionXLPipeline .* without text_encoder_2"):
        StableDiffusionXL(pipeline)


def test_pictures_are_rgb(sdxl: StableDiffusionXL) -> None:
    with torch.inference_mode():
        pictures = sdxl.decode(sdxl.begin([RECORD, MATE]))
    assert [(picture.mode, picture.size) for picture in pictures if isinstance(picture, Image.Image)] == [
        ("RGB", (32, 32))
    ] * 2
