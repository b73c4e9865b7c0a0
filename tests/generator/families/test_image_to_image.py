"""Initial images against StableDiffusionImg2ImgPipeline and StableDiffusionXLImg2ImgPipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline
from PIL import Image

from services.common.errors import InvalidInputError
from services.common.settings import Settings
from services.generator import schedulers
from services.generator.domain import GenerationRecord, NoisePart
from services.generator.families.base import Family
from services.generator.families.sd3 import StableDiffusion3
from services.generator.families.sdxl import StableDiffusionXL
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.families import running, tiny_families
from tests.generator.families.running import LATENT_TOLERANCE, MATE, Run, apart, assert_same, stock, together
from tests.generator.tiny import TINY

PICTURES = {
    "gradient": Image.radial_gradient("L").resize((32, 32)).convert("RGB"),
    "noise": Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)),
}
RECORD = replace(running.RECORD, scheduler="ddim", steps=7, strength=0.6, initial_image_content_hash="gradient")


@pytest.fixture(params=["tiny", "sdxl"])
def family(request: pytest.FixtureRequest) -> Family:
    """A family whose denoiser is a UNet; the autoencoder of SDXL draws noise, the other's does not."""
    found = request.getfixturevalue(request.param)
    return found.family if isinstance(found, LoadedModel) else found  # type: ignore[no-any-return]


@pytest.mark.parametrize("scheduler", schedulers.CLASSES)
@pytest.mark.parametrize("strength", [0.15, 0.6, 1.0])
def test_each_step_is_the_stock_pipelines(family: Family, scheduler: str, strength: float) -> None:
    record = replace(RECORD, scheduler=scheduler, strength=strength)
    (ours,) = ours_of(family, record)
    theirs = theirs_of(family, record)
    assert len(theirs.latents) == record.denoising_steps == {0.15: 1, 0.6: 4, 1.0: 7}[strength]
    # Of a model trained to zero terminal signal, Euler's first latents are in the thousands, and so is rounding.
    assert_same(ours, theirs, tolerance=1e-3 if strength == 1 and "euler" in scheduler else LATENT_TOLERANCE)


def test_the_initial_image_the_strength_and_the_seed_count(family: Family) -> None:
    theirs = theirs_of(family, RECORD)
    for change in ({"initial_image_content_hash": "noise"}, {"strength": 0.9}, {"seed": 8}):
        assert apart(theirs, ours_of(family, replace(RECORD, **change))[0]) > 100


def test_mates_with_and_without_initial_images_change_nothing(family: Family) -> None:
    mates = [
        replace(RECORD, scheduler="euler", strength=1.0, initial_image_content_hash="noise", seed=3),
        replace(MATE, scheduler="dpmpp_2m"),
        replace(RECORD, scheduler="euler_ancestral", guidance_scale=1.0, seed=4),
    ]
    made = ours_of(family, RECORD, *mates, gap=1)
    assert_same(made[0], theirs_of(family, RECORD))
    assert_same(made[1], theirs_of(family, mates[0]), tolerance=1e-3)
    assert_same(made[2], stock(family.pipeline, mates[1]))
    assert_same(made[3], theirs_of(family, mates[2]))


def test_a_scheduler_with_an_extra_call(models_dir: Path) -> None:
    family = load_model(TINY, Settings(models_dir=models_dir, device="cpu")).family
    family.pipeline.scheduler = PNDMScheduler(skip_prk_steps=True, prediction_type="v_prediction", steps_offset=1)
    record = replace(RECORD, scheduler="pndm")
    assert_same(ours_of(family, record)[0], theirs_of(family, record))


def test_noise_may_be_a_mix(tiny: LoadedModel) -> None:
    """The autoencoder draws nothing: the mix of one noise is what the pipeline draws with that noise's seed."""
    mixed = replace(RECORD, noise_mix=(NoisePart(21, 1.0),))
    assert_same(ours_of(tiny.family, mixed)[0], theirs_of(tiny.family, replace(RECORD, seed=21)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_autoencoder_of_sdxl_encodes_in_float32_and_is_narrow_again(tmp_path: Path, dtype: torch.dtype) -> None:
    family = StableDiffusionXL(tiny_families.sdxl(tmp_path).to(dtype))
    seen: list[torch.dtype] = []
    handle = family.pipeline.vae.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    with torch.inference_mode():
        (one,) = family.begin([RECORD], PICTURES)
    handle.remove()
    assert seen == [torch.float32] and family.pipeline.vae.dtype == dtype == one.latents.dtype


def test_latents_of_a_known_mean_are_brought_to_it(tmp_path: Path) -> None:
    family = StableDiffusionXL(tiny_families.sdxl(tmp_path))
    plain = ours_of(family, RECORD)[0]
    family.pipeline.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 2.0], latents_std=[1.0, 2.0, 0.5, 3.0])
    (ours,) = ours_of(family, RECORD)
    assert_same(ours, theirs_of(family, RECORD))
    assert apart(ours, plain) > 100


def test_a_family_without_it_refuses(sd3: StableDiffusion3) -> None:
    with pytest.raises(InvalidInputError, match="initial_image: is not taken by this model; allowed: unset"):
        sd3.begin([replace(RECORD, scheduler="flow_euler")], PICTURES)


def ours_of(family: Family, *records: GenerationRecord, gap: int = 0) -> Sequence[Run]:
    """Pictures by the family."""
    return together(family, records, gap=gap, initial_images=PICTURES)


def theirs_of(family: Family, record: GenerationRecord) -> Run:
    """The picture by the stock image-to-image pipeline."""
    parts: dict[str, Any] = family.pipeline.components
    if isinstance(family, StableDiffusionXL):
        pipeline: Any = StableDiffusionXLImg2ImgPipeline(**parts)
    else:
        pipeline = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    image = PICTURES[record.initial_image_content_hash]
    return stock(pipeline, record, image=image, strength=record.strength)
