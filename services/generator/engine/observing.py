"""What an operator sees of single pictures and of the GPU: how long each part took, as metrics and spans."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from services.common import tracing
from services.generator import metrics
from services.generator.engine.slots import Slot

LOOK_SECONDS = 1.0
"""Between two looks at the memory of a GPU, which asks its driver."""


class MemoryGauges:
    """Memory of the GPUs that are denoised on, under the names that nvidia-smi has for them."""

    def __init__(self) -> None:
        self._looked_at: dict[torch.device, float] = {}

    def look(self, device: torch.device) -> None:
        """Takes down the memory of a device, unless that was done a moment ago; other devices are left alone."""
        now = time.perf_counter()
        if device.type != "cuda" or now - self._looked_at.get(device, 0.0) < LOOK_SECONDS:
            return
        self._looked_at[device] = now
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        free, total = torch.cuda.mem_get_info(device)
        metrics.GPU_FREE_BYTES.labels(name).set(free)
        metrics.GPU_TOTAL_BYTES.labels(name).set(total)
        metrics.GPU_RESERVED_BYTES.labels(name).set(torch.cuda.memory_reserved(device))


def begun(slots: Sequence[Slot]) -> None:
    """Notes how long pictures have waited that begin now; those that could not begin are left out."""
    for slot in slots:
        if slot.denoising is not None:
            waited = slot.started_at - slot.submitted_at
            metrics.QUEUE_SECONDS.labels(slot.item.record.model).observe(waited)


def ended(slot: Slot, outcome: str) -> None:
    """Writes the spans of a picture that ends now: what it waited, was denoised and decoded."""
    if not slot.span:
        return
    now = time.perf_counter()
    attributes: dict[str, tracing.Value] = {
        "likeness.item_id": slot.item.item_id,
        "likeness.model": slot.item.record.model,
        "likeness.outcome": outcome,
    }
    has_begun = slot.started_at > 0
    tracing.past("queue", slot.span, slot.submitted_at, slot.started_at if has_begun else now, attributes=attributes)
    if not has_begun:
        return
    steps = slot.steps_done if slot.batch_pictures else 0
    batch = {"likeness.steps": steps, "likeness.mean_batch_pictures": slot.batch_pictures / max(steps, 1)}
    made = outcome == "made"
    denoised_at = slot.stepped_at if made else now
    tracing.past("denoise", slot.span, slot.started_at, denoised_at, attributes=attributes | batch)
    if made:
        tracing.past("decode", slot.span, denoised_at, now, attributes=attributes)
