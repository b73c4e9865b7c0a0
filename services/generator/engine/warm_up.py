"""A first picture, before requests come."""

from __future__ import annotations

import torch

from services.generator.domain import GenerationRecord
from services.generator.pipelines import LoadedModel


@torch.inference_mode()
def warm_up(model: LoadedModel) -> None:
    """One step at native size and default settings, so that the first request does not pay for lazy initialization."""
    family = model.family
    (one,) = family.begin([first_record(model)])
    while not one.is_done:
        family.advance(one, family.predict([one])[0])
    family.decode([one])


def first_record(model: LoadedModel) -> GenerationRecord:
    """A picture of one step at native size and default settings."""
    limits = model.card.limits
    return GenerationRecord(
        prompt="warm-up",
        negative_prompt="",
        seed=0,
        steps=1,
        guidance_scale=limits.default_guidance_scale,
        scheduler=limits.schedulers[0],
        width_pixels=limits.width_pixels,
        height_pixels=limits.height_pixels,
        model=model.card.id,
        model_revision=model.card.revision,
    )
