"""What a deployment offers and how it is: models, metrics, strategies, health."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True)
class GenerationLimits:
    """Allowed and default values of a generator model. The first scheduler is the default.

    Attributes:
        takes_initial_image: Whether pictures can start from an initial image, and so with a mask or in two rounds.
    """

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
class Adapter:
    """A small change of a generator model's weights (LoRA) that a picture can be made with.

    Attributes:
        absent_reason: Why it cannot be used, for people; empty if it can.
    """

    id: str
    revision: str
    license: str
    absent_reason: str = ""


@dataclass(frozen=True)
class Model:
    """A model that a service runs; role is "generator", "embedder" or "language".

    Attributes:
        load_state: "loaded", "loading", "not_loaded" (the next request loads it) or "failed"; "unspecified" where the
            service keeps all its models loaded.
        load_problem: Why it could not be loaded, for people; empty unless that failed.
        size_bytes: Of its parameters; 0 if the service does not say.
    """

    id: str
    revision: str
    role: str
    source: str
    embedded: bool
    license: str
    generation_limits: GenerationLimits | None = None
    adapters: tuple[Adapter, ...] = ()
    load_state: str = "unspecified"
    load_problem: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class ModelList:
    """Models of every service that answers, the default generator first; `unreachable` services did not."""

    models: tuple[Model, ...]
    unreachable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """A metric of the deployment.

    Attributes:
        input: "image_image" or "text_image".
        computed_by_default: Whether it is computed when a request names no metrics.
        selects_by_default: Whether it is part of the loop score when a session names no selection metrics.
    """

    id: str
    revision: str
    description: str
    input: str
    higher_is_better: bool
    minimum: float | None
    maximum: float | None
    preprocessing: str
    embedding_model: str
    token_limit: int | None
    embedded: bool
    license: str
    computed_by_default: bool = False
    selects_by_default: bool = False


@dataclass(frozen=True)
class AbsentMetric:
    """A metric that the deployment knows and cannot compute; `reason` says what is missing, for people."""

    id: str
    reason: str


@dataclass(frozen=True)
class Strategy:
    """A way to steer the loop."""

    id: str
    revision: str
    description: str
    embedded: bool


class Health(StrEnum):
    """How a part of the system is: DEGRADED works with less, slower or without a cache."""

    SERVING = "serving"
    DEGRADED = "degraded"
    NOT_SERVING = "not_serving"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ComponentStatus:
    """State of one part of the system."""

    component: str
    health: Health
    detail: str = ""


@dataclass(frozen=True)
class Status:
    """State of the system: the worst of the parts that requests need, and each part.

    Attributes:
        server_time: What the gateway's clock says; None from one that does not tell.
    """

    health: Health
    components: tuple[ComponentStatus, ...]
    version: str
    profile: str
    server_time: datetime | None = None
