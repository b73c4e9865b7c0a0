"""Words of the generator: what is asked for, what is made, what a model accepts. Plain values; no transport."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from PIL import Image


class Priority(IntEnum):
    """Which waiting pictures begin first: those of the higher one. Numbers as in the contract."""

    BATCH = 1
    NORMAL = 2
    INTERACTIVE = 3


@dataclass(frozen=True)
class Urgency:
    """How much of a hurry a request's pictures are in."""

    priority: Priority = Priority.NORMAL
    time_limit_seconds: float | None = None
    """Time from the request in which the pictures are of use; None: no limit."""


NO_HURRY = Urgency()


MID_GREY = 128
"""Pixels of a mask from this value on are denoised, darker ones are kept."""


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
    mask: bytes | None = None
    """An encoded picture that is white where the initial image is made anew; None: everywhere."""
    second_strength: float | None = None
    """To how much of the steps the result is noised again for a second pass, up to 1; None: one pass."""


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
    mask_content_hash: str = ""
    """SHA-256 of the mask's bytes; empty: there was none."""
    second_strength: float = 0.0
    """To how much of the steps the result was noised again for a second pass, up to 1; 0: there was one pass."""

    @property
    def first_steps(self) -> int:
        """Steps of the first pass: the last ones, where the picture starts from an initial image."""
        return int(self.steps * self.strength) if self.strength else self.steps

    @property
    def second_steps(self) -> int:
        """Steps of the second pass; 0 if there is none."""
        return int(self.steps * self.second_strength)

    @property
    def denoising_steps(self) -> int:
        """Steps that are done, of both passes."""
        return self.first_steps + self.second_steps


@dataclass(frozen=True)
class EngineItem:
    """One checked picture to make, every default filled in."""

    item_id: str
    record: GenerationRecord
    prompt_truncated: bool = False
    preview_interval_steps: int = 0
    """Denoising steps from one preview to the next; 0: no previews."""
    initial_image: Image.Image | None = None
    """RGB in the size of the picture."""
    mask: Image.Image | None = None
    """L in the size of the picture."""


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
    takes_negative_prompt: bool
    takes_guidance_scale: bool


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


class LoadState(StrEnum):
    """Whether a model is in memory."""

    LOADED = "loaded"
    LOADING = "loading"
    NOT_LOADED = "not_loaded"
    """Known and usable: the next request loads it."""
    FAILED = "failed"


@dataclass(frozen=True)
class ModelStatus:
    """A model of the deployment and whether it is in memory."""

    id: str
    source: str
    """Hub id or folder name, never a path."""
    embedded: bool
    license: str
    state: LoadState
    problem: str = ""
    """Why it could not be loaded; empty unless the state is FAILED."""
    size_bytes: int = 0
    """Of its parameters, without adapters; 0 if it was never loaded."""
    card: ModelCard | None = None
    """None if it was never loaded."""
