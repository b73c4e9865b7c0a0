"""Models of the backends, as each backend lists its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class GenerationLimits:
    """Allowed and default values of a generator model."""

    default_steps: int
    max_steps: int
    default_guidance_scale: float
    width_pixels: int
    height_pixels: int
    size_multiple_pixels: int
    max_side_pixels: int
    schedulers: tuple[str, ...]
    token_limit: int
    mixes_noise: bool = False
    takes_initial_image: bool = False
    takes_negative_prompt: bool = True
    takes_guidance_scale: bool = True


@dataclass(frozen=True)
class AdapterInfo:
    """A LoRA adapter of a generator model; `absent_reason` says why it cannot be used, empty if it can."""

    id: str
    revision: str
    license: str
    absent_reason: str = ""


class LoadState(StrEnum):
    """Whether a backend has a model in memory."""

    UNSPECIFIED = "unspecified"
    """The backend keeps all its models loaded."""
    LOADED = "loaded"
    LOADING = "loading"
    NOT_LOADED = "not_loaded"
    """The next request loads it."""
    FAILED = "failed"


@dataclass(frozen=True)
class ModelInfo:
    """A model of a backend; role is "generator", "embedder" or "language"."""

    id: str
    revision: str
    role: str
    source: str
    embedded: bool
    license: str
    limits: GenerationLimits | None = None
    adapters: tuple[AdapterInfo, ...] = ()
    load_state: LoadState = LoadState.UNSPECIFIED
    load_problem: str = ""
    """Why it could not be loaded; empty unless the state is FAILED."""
    size_bytes: int = 0
    """Of its parameters; 0 if the backend does not say."""
