"""Masks against StableDiffusionInpaintPipeline and StableDiffusionXLInpaintPipeline with denoisers that see no mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import PNDMScheduler, StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline
from PIL import Image, ImageDraw

from services.common.errors import InvalidInputError
from services.generator import schedulers
from services.generator.domain import GenerationRecord
from services.generator.families.base import Family
from services.generator.families.sdxl import StableDiffusionXL
from tests.generator.families import running
from tests.generator.families.running import LATENT_TOLERANCE, MATE, Run, apart, assert_same, stock, together
from tests.generator.families.test_image_to_image import PICTURES


def _rectangle(box: tuple[int, int, int, int], lightness: int = 255) -> Image.Image:
    mask = Image.new("L", (32, 32))
    ImageDraw.Draw(mask).rectangle(box, fill=lightness)
    return mask


MASKS = {
    "left": _rectangle((0, 0, 15, 31)),
    # Between the grid of the latents, with both kinds of grey.
    "spot": Image.composite(_rectangle((9, 9, 22, 22)), _rectangle((5, 5, 26, 26), 127), _rectangle((9, 9, 22, 22))),
    "grey": _rectangle((9, 9, 22, 22), 128),
    "all": _rectangle((0, 0, 31, 31)),
}
PLAIN = replace(running.RECORD, scheduler="ddim", steps=7)
RECORD = replace(PLAIN, strength=0.6, initial_image_content_hash="gradient", mask_content_hash="left")


@pytest.fixture(params=["four_channels", "sdxl"])
def family(request: pytest.FixtureRequest) -> Family:
    """A family that the stock pipelines know masks for; the autoencoder of SDXL draws noise, the other's does not."""
    found: Family = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("scheduler", schedulers.CLASSES)
@pytest.mark.parametrize("strength", [0.15, 0.6, 1.0])
def test_each_step_is_the_stock_pipelines(family: Family, scheduler: str, strength: float) -> None:
    record = replace(RECORD, scheduler=scheduler, strength=strength)
    (ours,) = ours_of(family, record)
    theirs = theirs_of(family, record)
    assert len(theirs.latents) == record.denoising_steps == {0.15: 1, 0.6: 4, 1.0: 7}[strength]
    # Of a model trained to zero terminal signal, Euler's first latents are in the thousands, and so is rounding.
    assert_same(ours, theirs, tolerance=1e-3 if strength == 1 and "euler" in scheduler else LATENT_TOLERANCE)


@pytest.mark.parametrize("mask", MASKS)
def test_masks_are_read_as_the_stock_pipelines_read_them(family: Family, mask: str) -> None:
    record = replace(RECORD, mask_content_hash=mask, strength=1.0)
    (ours,) = ours_of(family, record)
    assert_same(ours, theirs_of(family, record))
    others = [replace(record, mask_content_hash=other) for other in MASKS if other not in (mask, "spot", "grey")]
    assert all(apart(ours, other) > 100 for other in ours_of(family, *others))


def test_latents_outside_the_mask_end_as_the_initial_images(family: Family) -> None:
    """Each of its own picture: the autoencoder of SDXL draws what it gives."""
    (masked,) = ours_of(family, replace(RECORD, strength=1.0))
    (other,) = ours_of(family, replace(RECORD, strength=0.15, prompt="two BLUE moons at sea"))
    kept, made = (slice(None), slice(None), slice(4, None)), (slice(None), slice(None), slice(0, 4))
    assert torch.equal(masked.latents[-1][kept], other.latents[-1][kept])
    assert not torch.allclose(masked.latents[-1][made], other.latents[-1][made], atol=0.01)


def test_mates_with_and_without_masks_change_nothing(family: Family) -> None:
    mates = [
        replace(RECORD, scheduler="euler", initial_image_content_hash="noise", mask_content_hash="spot", seed=3),
        replace(MATE, scheduler="dpmpp_2m"),
        replace(RECORD, scheduler="euler_ancestral", guidance_scale=1.0, seed=4, mask_content_hash=""),
    ]
    made = ours_of(family, RECORD, *mates, gap=1)
    assert_same(made[0], theirs_of(family, RECORD))
    assert_same(made[1], theirs_of(family, mates[0]))
    assert_same(made[2], stock(family.pipeline, mates[1]))
    # To the bit it would be but for the batch's shape: nothing of a mate's mask touches it.
    assert_same(made[3], ours_of(family, mates[2])[0])


def test_a_scheduler_with_an_extra_call(own_four_channels: Family) -> None:
    family = own_four_channels
    family.pipeline.scheduler = PNDMScheduler(skip_prk_steps=True, prediction_type="v_prediction", steps_offset=1)
    record = replace(RECORD, scheduler="pndm")
    assert_same(ours_of(family, record)[0], theirs_of(family, record))


@torch.inference_mode()
def test_a_preview_shows_the_initial_image_outside_the_mask(family: Family) -> None:
    (one,) = family.begin([RECORD], PICTURES, MASKS)
    seen = []
    while not one.is_done:
        family.advance(one, family.predict([one])[0])
        seen.append(one.as_it_stands().latents[:, :, 4:])
    assert all(torch.equal(outside, one.latents[:, :, 4:]) for outside in seen)


def test_white_between_the_latents_is_refused(family: Family) -> None:
    mask = _rectangle((9, 9, 10, 10))
    with pytest.raises(InvalidInputError, match=r"mask: has no .* allowed: white areas of at least 4 x 4 pixels"):
        family.begin([RECORD], PICTURES, {"left": mask})


def ours_of(family: Family, *records: GenerationRecord, gap: int = 0) -> Sequence[Run]:
    """Pictures by the family."""
    return together(family, records, gap=gap, initial_images=PICTURES, masks=MASKS)


def theirs_of(family: Family, record: GenerationRecord) -> Run:
    """The picture by the stock inpainting pipeline."""
    parts: dict[str, Any] = family.pipeline.components
    if isinstance(family, StableDiffusionXL):
        pipeline: Any = StableDiffusionXLInpaintPipeline(**parts)
    else:
        pipeline = StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    side = 32 // pipeline.vae_scale_factor
    return stock(
        pipeline,
        record,
        image=PICTURES[record.initial_image_content_hash],
        mask_image=MASKS[record.mask_content_hash],
        strength=record.strength,
        # Read by denoisers that see the mask alone. Without it the pipeline would encode one to throw it away, and the
        # autoencoder's draw would move the noise of ancestral samplers on.
        masked_image_latents=torch.zeros(1, 4, side, side),
    )
