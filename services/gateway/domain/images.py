"""Stored pictures, and how each was made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageInfo:
    """What is known of a stored picture."""

    content_hash: str
    pixel_hash: str
    media_type: str
    width_pixels: int
    height_pixels: int
    size_bytes: int


@dataclass(frozen=True)
class NoisePart:
    """One noise of a mix, by its seed. `cells` are factors of the weight in a square grid; empty: 1 everywhere."""

    seed: int
    weight: float
    cells: tuple[float, ...] = ()


@dataclass(frozen=True)
class GenerationRecord:
    """Everything needed to make the same picture again."""

    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance_scale: float
    scheduler: str
    width_pixels: int
    height_pixels: int
    model: str
    model_revision: str
    noise_mix: tuple[NoisePart, ...] = ()
    deterministic: bool = False
    strength: float = 0.0
    initial_image_content_hash: str = ""
    mask_content_hash: str = ""
    second_strength: float = 0.0
    adapter: str = ""
    adapter_scale: float = 0.0
    adapter_revision: str = ""
