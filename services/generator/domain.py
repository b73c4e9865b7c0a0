"""Words of the generator: what is asked for, what is made, what a model accepts. Plain values; no transport."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NoisePart:
    """One noise of a mix, by its seed. `cells` are factors of the weight in a square grid; empty: 1 everywhere."""

    seed: int
    weight: float
    cells: tuple[float, ...] = ()


@dataclass(frozen=True)
class ItemRequest:
    """One picture to make, as asked for; None means the model's default."""

    item_id: str
    prompt: str
    seed: int
    negative_prompt: str = ""
    steps: int | None = None
    guidance_scale: float | None = None
    width_pixels: int | None = None
    height_pixels: int | None = None
    scheduler: str = ""
    noise_mix: tuple[NoisePart, ...] = ()


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
    """What the initial noise is a mix of; empty: the noise of `seed` alone."""


@dataclass(frozen=True)
class EngineItem:
    """One checked picture to make, every default filled in."""

    item_id: str
    record: GenerationRecord
    prompt_truncated: bool = False


@dataclass(frozen=True)
class GenerationLimits:
    """Allowed and default values of a model; `schedulers` has the default first."""

    default_steps: int
    max_steps: int
    default_guidance_scale: float
    width_pixels: int
    height_pixels: int
    size_multiple_pixels: int
    max_side_pixels: int
    schedulers: tuple[str, ...]
    token_limit: int
    mixes_noise: bool


@dataclass(frozen=True)
class ModelCard:
    """What callers may know of a loaded model. `source` is a hub id or a folder name, never a path."""

    id: str
    revision: str
    source: str
    embedded: bool
    license: str
    limits: GenerationLimits
