"""Which family takes which pipeline."""

from __future__ import annotations

import diffusers
import pytest

from services.common.errors import Reason, UnavailableError
from services.generator.families import family_of
from services.generator.families.flux import Flux
from services.generator.families.pixart import PixArt
from services.generator.families.sd3 import StableDiffusion3
from services.generator.families.sdxl import StableDiffusionXL
from services.generator.families.stable_diffusion import StableDiffusion


@pytest.mark.parametrize(
    ("pipeline", "family"),
    [
        (diffusers.StableDiffusionPipeline, StableDiffusion),
        (diffusers.StableDiffusionXLPipeline, StableDiffusionXL),
        (diffusers.StableDiffusion3Pipeline, StableDiffusion3),
        (diffusers.FluxPipeline, Flux),
        (diffusers.PixArtAlphaPipeline, PixArt),
        (diffusers.PixArtSigmaPipeline, PixArt),
    ],
)
def test_each_stock_pipeline_has_its_family(pipeline: type, family: type) -> None:
    assert family_of(pipeline.__new__(pipeline)) is family


def test_pictures_start_from_others_where_the_denoiser_is_a_unet() -> None:
    families = (StableDiffusion, StableDiffusionXL, StableDiffusion3, Flux, PixArt)
    assert [family.takes_initial_image for family in families] == [True, True, False, False, False]


def test_a_pipeline_of_no_family_is_named_with_the_families_there_are() -> None:
    with pytest.raises(UnavailableError) as refused:
        family_of(diffusers.DDPMPipeline.__new__(diffusers.DDPMPipeline))
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    assert "takes a DDPMPipeline" in refused.value.message and "FluxPipeline" in refused.value.message
