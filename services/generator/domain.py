"""Words of the generator: what is asked for, what is made, what a model accepts. Plain values; no transport."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


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
    adapter: str = ""
    """Empty: none."""
    adapter_scale: float | None = None
    preview_interval_steps: int = 0
    """Denoising steps from one preview to the next; 0: no previews."""
    deterministic: bool = False
    """Whether the picture must be the same to the bit whatever else is made at the time."""
    initial_image: bytes | None = None
    """An encoded picture to start from; None: from noise alone."""
    strength: float | None = None
    """How much of the initial image is made anew, up to 1; None without one."""


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
    adapter: str = ""
    """What the model was changed by; empty: nothing."""
    adapter_scale: float = 0.0
    """How much of it; 0 without one."""
    adapter_revision: str = ""
    deterministic: bool = False
    """Whether nothing of the picture was computed in a batch with others."""
    strength: float = 0.0
    """How much of the initial image was made anew, up to 1; 0: there was none."""
    initial_image_content_hash: str = ""
    """SHA-256 of the initial image's bytes; empty: there was none."""

    @property
    def denoising_steps(self) -> int:
        """Steps that are done: the last ones, where the picture starts from an initial image."""
        return int(self.steps * self.strength) if self.strength else self.steps


@dataclass(frozen=True)
class EngineItem:
    """One checked picture to make, every default filled in. `initial_image` is RGB in the size of the picture."""

    item_id: str
    record: GenerationRecord
    prompt_truncated: bool = False
    preview_interval_steps: int = 0
    """Denoising steps from one preview to the next; 0: no previews."""
    initial_image: Image.Image | None = None


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
    takes_initial_image: bool


@dataclass(frozen=True)
class AdapterCard:
    """What callers may know of an adapter of a model."""

    id: str
    revision: str
    license: str
    absent_reason: str = ""
    """Why it cannot be used; empty if it can."""


@dataclass(frozen=True)
class ModelCard:
    """What callers may know of a loaded model. `source` is a hub id or a folder name, never a path."""

    id: str
    revision: str
    source: str
    embedded: bool
    license: str
    limits: GenerationLimits
    adapters: tuple[AdapterCard, ...] = ()
