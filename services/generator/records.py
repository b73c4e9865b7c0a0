"""Finished pictures as PNG files that say how to make them again."""

from __future__ import annotations

import json
from dataclasses import asdict

from PIL import Image

from services.common.images import encode_png
from services.generator.domain import GenerationRecord, NoisePart

RECORD_KEY = "likeness"
"""Text chunk with the record as JSON, fields spelled as in likeness.types.v1.GenerationRecord."""
PARAMETERS_KEY = "parameters"
"""Text chunk that picture viewers of the Stable Diffusion world show."""


def png_with_record(picture: Image.Image, record: GenerationRecord) -> bytes:
    """PNG bytes of an RGB picture with its record in two text chunks."""
    fields = json.dumps(asdict(record), ensure_ascii=False)
    return encode_png(picture, {RECORD_KEY: fields, PARAMETERS_KEY: parameters_text(record)})


def parameters_text(record: GenerationRecord) -> str:
    """Prompt, negative prompt and settings on one line each, in the layout of AUTOMATIC1111's web UI."""
    settings = {
        "Steps": record.steps,
        "Sampler": record.scheduler,
        "CFG scale": f"{record.guidance_scale:g}",
        "Seed": record.seed,
        "Size": f"{record.width_pixels}x{record.height_pixels}",
        "Model hash": record.model_revision,
        "Model": record.model,
    }
    if record.strength:
        settings["Denoising strength"] = f"{record.strength:g}"
    if record.second_strength:
        settings["Second denoising strength"] = f"{record.second_strength:g}"
    if record.noise_mix:
        settings["Noise mix"] = " ".join(_part_text(part) for part in record.noise_mix)
    if record.adapter:
        settings["Adapter"] = f"{record.adapter} {record.adapter_scale:g}"
        settings["Adapter hash"] = record.adapter_revision
    lines = [record.prompt]
    if record.negative_prompt:
        lines.append(f"Negative prompt: {record.negative_prompt}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)


def _part_text(part: NoisePart) -> str:
    cells = f"*[{' '.join(f'{cell:.6g}' for cell in part.cells)}]" if part.cells else ""
    return f"{part.weight:+.6g}*{part.seed}{cells}"
