"""How many replicas each backend has: a fixed number, or as many between two bounds as open requests ask for."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field, model_validator

Backend = Literal["generator", "scorer", "refiner"]
MAX_REPLICAS = 1024


class ReplicaSettings(BaseModel):
    """What an operator can set about the number of replicas; for each backend the same four.

    Either the fixed number is set, or the most replicas with the target and, if more than one, the fewest.
    """

    generator_replicas: int | None = Field(default=None, ge=1, le=MAX_REPLICAS)
    """Fixed number of replicas; None means one, unless they are autoscaled."""
    generator_min_replicas: int | None = Field(default=None, ge=1, le=MAX_REPLICAS)
    """Fewest replicas where they are autoscaled; None means one."""
    generator_max_replicas: int | None = Field(default=None, ge=1, le=MAX_REPLICAS)
    """Most replicas where they are autoscaled; None means that they are not."""
    generator_target_ongoing_requests: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Open requests per replica that autoscaling aims at, those that wait for a replica among them."""
    scorer_replicas: int | None = Field(default=None, ge=1, le=MAX_REPLICAS)
    """As the generator's."""
    scorer_min_replicas: int | None = Field(default=None, ge=1, le=MAX_REPLICAS)
    """As the generator's."""
    scorer_max_replicas: int | None = Field(default=None, ge=1, le=MAX_REPLICAS)
    """As the generator's."""
    scorer_target_ongoing_requests: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """As the generator's."""
    refiner_replicas: int | None = Field(default=None, ge=1, le=MAX_REPLICAS)
    """As the generator's."""
    refiner_min_replicas: int | None = Field(default=None, ge=1, le=MAX_REPLICAS)
    """As the generator's."""
    refiner_max_replicas: int | None = Field(default=None, ge=1, le=MAX_REPLICAS)
    """As the generator's."""
    refiner_target_ongoing_requests: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """As the generator's."""

    def replica_options(self, backend: Backend) -> dict[str, Any]:
        """Options of a backend's Ray Serve deployment that say how many replicas it has.

        None where nothing is set: then Serve's configuration of a real cluster decides, and without one a replica runs.

        Raises:
            ValueError: The four settings contradict one another; such settings cannot be made.
        """
        fixed, fewest, most, target = (
            getattr(self, f"{backend}_{name}")
            for name in ("replicas", "min_replicas", "max_replicas", "target_ongoing_requests")
        )
        autoscaled = [fewest, most, target]
        if fixed is not None and any(value is not None for value in autoscaled):
            raise ValueError(
                f"{backend}_replicas is a fixed number: set it, or {backend}_max_replicas and "
                f"{backend}_target_ongoing_requests for one that follows the load, but not both"
            )
        if fixed is not None:
            return {"num_replicas": fixed}
        if all(value is None for value in autoscaled):
            return {}
        if most is None or target is None:
            missing = "max_replicas" if most is None else "target_ongoing_requests"
            raise ValueError(f"{backend}_{missing} must be set where replicas follow the load")
        if fewest is not None and fewest > most:
            raise ValueError(f"{backend}_min_replicas ({fewest}) must be at most {backend}_max_replicas ({most})")
        bounds = {"min_replicas": fewest or 1, "max_replicas": most}
        return {"autoscaling_config": {**bounds, "target_ongoing_requests": target}}

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for backend in get_args(Backend):
            self.replica_options(backend)
        return self
