"""What the calls of a model take of its device's memory, measured before requests come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from services.common.telemetry import get_logger
from services.generator.batch_memory import BatchMemory, CallMemory, MemoryMeter
from services.generator.engine.warm_up import first_record
from services.generator.families.base import Denoising, Family
from services.generator.pipelines import LoadedModel
from services.generator.reading import computing

log = get_logger(__name__)

_GUIDED = 2.0
"""A guidance scale that makes the denoiser compute both halves, where a model has two."""


@torch.inference_mode()
def measured(model: LoadedModel, meter: MemoryMeter | None) -> LoadedModel:
    """The model, and what its calls take, by calls for one picture and for two of native size.

    The model has been warmed up: what its first call takes for ever is none of a batch's. It comes back as it is where
    there is no meter, or nothing to choose because a call is for one picture.
    """
    if meter is None or model.max_batch == 1:
        return model
    # The engine stands still: what it takes for other models' pictures would be measured too.
    with computing():
        one_denoise, one_decode = _peaks(model, meter, 1)
        two_denoise, two_decode = _peaks_of_two(model, meter) or (2 * one_denoise, 2 * one_decode)
        left = meter.left_bytes()
    limits = model.card.limits
    memory = BatchMemory(
        denoise=CallMemory.of_peaks(one_denoise, two_denoise),
        decode=CallMemory.of_peaks(one_decode, two_decode),
        native_pixels=limits.width_pixels * limits.height_pixels,
        meter=meter,
    )
    batches = memory.batches(left, memory.native_pixels, model.max_batch)
    log.info(
        "batch_memory_measured",
        model=model.card.id,
        denoise_fixed_bytes=memory.denoise.fixed_bytes,
        denoise_picture_bytes=memory.denoise.picture_bytes,
        decode_fixed_bytes=memory.decode.fixed_bytes,
        decode_picture_bytes=memory.decode.picture_bytes,
        left_bytes=left,
        denoise_batch=batches.denoise,
        decode_batch=batches.decode,
    )
    return replace(model, memory=memory)


def _peaks_of_two(model: LoadedModel, meter: MemoryMeter) -> tuple[int, int] | None:
    """Peaks of calls for two pictures; None if there is no room for two, which is no reason to do without the model."""
    try:
        return _peaks(model, meter, 2)
    except torch.OutOfMemoryError:
        pass
    # Outside the handler: while the exception lives, its traceback holds the failed batch's tensors.
    torch.cuda.empty_cache()
    return None


def _peaks(model: LoadedModel, meter: MemoryMeter, pictures: int) -> tuple[int, int]:
    """The most bytes that a denoiser call and a decoder call take for so many guided pictures of native size."""
    family, record = model.family, first_record(model)
    guided = replace(record, guidance_scale=max(record.guidance_scale, _GUIDED))
    batch = family.begin([replace(guided, seed=seed) for seed in range(pictures)])
    denoise = 0
    while not batch[0].is_done:
        denoise = max(denoise, _step(family, batch, meter))
    return denoise, meter.peak_bytes(lambda: family.decode(batch))


def _step(family: Family, batch: Sequence[Denoising], meter: MemoryMeter) -> int:
    outputs: list[torch.Tensor] = []
    peak = meter.peak_bytes(lambda: outputs.extend(family.predict(batch).unbind()))
    for one, output in zip(batch, outputs, strict=True):
        family.advance(one, output)
    return peak
