"""Runs a picture through a stock pipeline and through a family, and compares the two step by step."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from services.generator import schedulers
from services.generator.domain import GenerationRecord
from services.generator.families.base import NO_IMAGES, Family

LATENT_TOLERANCE = 1e-4
"""Largest difference of a latent after any step, in float32 on the CPU."""
PICTURE_TOLERANCE = 0.05
"""Mean absolute difference of pixels, of 255."""

Picture = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Run:
    """Latents [...] after each step, and the picture [H, W, 3]."""

    latents: list[torch.Tensor]
    picture: Picture


RECORD = GenerationRecord(
    prompt="a red star",
    negative_prompt="",
    seed=7,
    steps=4,
    guidance_scale=4.3,
    scheduler="",
    width_pixels=32,
    height_pixels=32,
    model="tiny",
    model_revision="0",
)
MATE = replace(RECORD, prompt="two BLUE moons at sea", seed=8, steps=6, guidance_scale=2.0)


def stock(pipeline: Any, record: GenerationRecord, *, generator: torch.Generator | None = None, **options: Any) -> Run:
    """The picture by the stock pipeline alone; `options` go to its `__call__`."""
    latents: list[torch.Tensor] = []

    def after_step(_: Any, _index: int, _t: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        latents.append(tensors["latents"][0].clone())
        return {}

    def after_step_of_pixart(_index: int, _t: Any, tensor: torch.Tensor) -> None:
        latents.append(tensor[0].clone())

    if "callback_on_step_end" in inspect.signature(pipeline.__call__).parameters:
        options["callback_on_step_end"] = after_step
    else:
        options["callback"] = after_step_of_pixart
    if record.negative_prompt:
        options["negative_prompt"] = record.negative_prompt
    own = pipeline.scheduler
    pipeline.scheduler = schedulers.build(record.scheduler, own)
    try:
        output = pipeline(
            prompt=record.prompt,
            height=record.height_pixels,
            width=record.width_pixels,
            num_inference_steps=record.steps,
            guidance_scale=record.guidance_scale,
            generator=generator or torch.Generator("cpu").manual_seed(record.seed),
            **options,
        )
    finally:
        pipeline.scheduler = own
    return Run(latents, _pixels(output.images[0]))


@torch.inference_mode()
def together(
    family: Family,
    records: Sequence[GenerationRecord],
    *,
    gap: int = 0,
    initial_images: Mapping[str, Image.Image] = NO_IMAGES,
    masks: Mapping[str, Image.Image] = NO_IMAGES,
) -> list[Run]:
    """Pictures denoised in shared calls by the family; each joins `gap` calls after the one before it."""
    assert len({family.group(record) for record in records}) == 1
    pictures = family.begin(records, initial_images, masks)
    after: list[list[torch.Tensor]] = [[] for _ in records]
    call = 0
    while not all(one.is_done for one in pictures):
        joined = [index for index, one in enumerate(pictures) if call >= index * gap and not one.is_done]
        outputs = family.predict([pictures[index] for index in joined])
        for index, output in zip(joined, outputs, strict=True):
            family.advance(pictures[index], output)
            after[index].append(pictures[index].latents.clone())
        call += 1
    decoded = family.decode(pictures)
    return [Run(latents, _pixels(picture)) for latents, picture in zip(after, decoded, strict=True)]


def alone(family: Family, record: GenerationRecord) -> Run:
    """The picture by the family, alone."""
    return together(family, [record])[0]


def assert_same(ours: Run, theirs: Run, tolerance: float = LATENT_TOLERANCE) -> None:
    """The same latents after every step, and the same picture, within the tolerances."""
    assert len(ours.latents) == len(theirs.latents)
    differences = [
        (ours - theirs).abs().max().item() for ours, theirs in zip(ours.latents, theirs.latents, strict=True)
    ]
    assert max(differences) <= tolerance, differences
    assert ours.picture.shape == theirs.picture.shape
    assert np.abs(ours.picture - theirs.picture).mean() <= PICTURE_TOLERANCE
    # A flat picture or latents that are gone would be the same whatever is done.
    assert theirs.picture.std() > 1 and theirs.latents[-1].isfinite().all()


def apart(one: Run, other: Run) -> float:
    """How far two pictures' last latents are from each other, in tolerances: what a test must be able to see."""
    return (one.latents[-1] - other.latents[-1]).abs().max().item() / LATENT_TOLERANCE


def _pixels(picture: Any) -> Picture:
    return np.asarray(picture, dtype=np.float64)
