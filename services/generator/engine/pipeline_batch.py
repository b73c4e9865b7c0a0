"""One call of a stock diffusers pipeline for several items that differ only in prompt, negative prompt and seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

from services.generator import noise
from services.generator.domain import GenerationRecord
from services.generator.pipelines import LoadedModel

OnStep = Callable[[int, frozenset[int]], None]
"""Called after each denoising step with the steps done and, after the last, the indices of broken latents. It stops
the call by raising."""


class BatchKey(NamedTuple):
    """What items must have in common to share a call.

    Whether there is a negative prompt is part of it: some pipelines encode "none" and "empty" differently, and then a
    batch mate's negative prompt would change a picture.
    """

    model: str
    steps: int
    width_pixels: int
    height_pixels: int
    guidance_scale: float
    scheduler: str
    has_negative_prompt: bool


def batch_key(record: GenerationRecord) -> BatchKey:
    """Key of an item's record."""
    return BatchKey(
        model=record.model,
        steps=record.steps,
        width_pixels=record.width_pixels,
        height_pixels=record.height_pixels,
        guidance_scale=record.guidance_scale,
        scheduler=record.scheduler,
        has_negative_prompt=bool(record.negative_prompt),
    )


@torch.inference_mode()
def run_batch(model: LoadedModel, records: Sequence[GenerationRecord], on_step: OnStep) -> list[Image.Image | None]:
    """Makes one RGB picture per record, in order; None where the model's safety checker withheld it.

    Args:
        model: Pipeline to run. The caller must be the only one who uses it.
        records: At least one, all of one `batch_key`.
        on_step: Told of every denoising step. Pictures of latents it was told are broken are meaningless.
    """
    first = records[0]
    pipeline = model.pipeline
    pipeline.scheduler = model.new_scheduler(first.scheduler)

    def after_step(_: Any, index: int, _t: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if model.device.type == "cuda":
            # Kernels run behind Python's back: without waiting, progress and cancellation would run ahead of them.
            torch.cuda.current_stream(model.device).synchronize()
        latents = tensors["latents"]
        broken: frozenset[int] = frozenset()
        if index + 1 == pipeline.num_timesteps:
            # Before the decoder, so that NaN never becomes pixels.
            finite = latents.isfinite().flatten(1).all(dim=1)
            broken = frozenset((~finite).nonzero().flatten().tolist())
            latents = latents.nan_to_num(0.0, 0.0, 0.0) if broken else latents
        # PLMS evaluates the first step twice, so there may be one more call than steps.
        on_step(min(index + 1, first.steps), broken)
        return {"latents": latents}

    output = pipeline(
        prompt=[record.prompt for record in records],
        negative_prompt=[record.negative_prompt for record in records] if first.negative_prompt else None,
        height=first.height_pixels,
        width=first.width_pixels,
        num_inference_steps=first.steps,
        guidance_scale=first.guidance_scale,
        **_initial_noise(pipeline, records),
        # On the CPU whatever the device: the same seed gives the same noise everywhere.
        generator=[torch.Generator("cpu").manual_seed(record.seed) for record in records],
        callback_on_step_end=after_step,
        callback_on_step_end_tensor_inputs=["latents"],
    )
    withheld = getattr(output, "nsfw_content_detected", None) or [False] * len(records)
    return [None if hidden else picture for picture, hidden in zip(output.images, withheld, strict=True)]


def _initial_noise(pipeline: Any, records: Sequence[GenerationRecord]) -> dict[str, torch.Tensor]:
    latents = noise.initial(pipeline, records)
    return {} if latents is None else {"latents": latents}


def warm_up(model: LoadedModel) -> None:
    """One step at native size and default settings, so that the first request does not pay for lazy initialization."""
    limits = model.card.limits
    record = GenerationRecord(
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
    run_batch(model, [record], lambda *_: None)
