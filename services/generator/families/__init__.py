"""Model families: a pipeline's parts as the step-level engine calls them, one file a family."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from services.common.errors import Reason, UnavailableError
from services.generator.families.base import Family

_FAMILIES: dict[str, tuple[str, str]] = {
    "StableDiffusionPipeline": ("stable_diffusion", "StableDiffusion"),
    "StableDiffusionXLPipeline": ("sdxl", "StableDiffusionXL"),
    "StableDiffusion3Pipeline": ("sd3", "StableDiffusion3"),
    "FluxPipeline": ("flux", "Flux"),
    "PixArtAlphaPipeline": ("pixart", "PixArt"),
    "PixArtSigmaPipeline": ("pixart", "PixArt"),
}
"""File and class of the family, by the pipeline's class name."""


def family_of(pipeline: Any) -> type[Family]:
    """The family of a loaded pipeline.

    Raises:
        UnavailableError: MODEL_UNAVAILABLE; no family takes such pipelines. Says which there are.
    """
    name = type(pipeline).__name__
    if name not in _FAMILIES:
        message = f"no model family takes a {name}; there are families for {', '.join(sorted(_FAMILIES))}"
        raise UnavailableError(Reason.MODEL_UNAVAILABLE, message)
    file, kind = _FAMILIES[name]
    family: type[Family] = getattr(import_module(f"{__name__}.{file}"), kind)
    return family
