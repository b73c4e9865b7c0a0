"""What the replicas of applications take of Ray's resources when all of them run."""

from __future__ import annotations

from typing import Any, NamedTuple


class Need(NamedTuple):
    """Of one application, which has one deployment."""

    first_replicas: int
    """With which it starts."""
    most_replicas: int
    cpus: float
    """Of a replica, as are the next."""
    gpus: float


def need_of(application: Any) -> Need:
    """What a Ray Serve application asks for, before it is deployed."""
    # Ray has no public word for an application's deployment, nor for its autoscaling.
    deployment = application._bound_deployment
    autoscaling = deployment._deployment_config.autoscaling_config
    fixed = deployment.num_replicas
    first, most = (autoscaling.min_replicas, autoscaling.max_replicas) if autoscaling else (fixed, fixed)
    options = deployment.ray_actor_options
    return Need(first, most, options.get("num_cpus", 1), options.get("num_gpus", 0))


def too_few_gpus(name: str, need: Need, gpus: float) -> str:
    """Why an application cannot start where there are so many GPUs; "" if it can."""
    needed = need.first_replicas * need.gpus
    if needed <= gpus:
        return ""
    allowed = int(gpus / need.gpus)
    fewer = f"LIKENESS_{name.upper()}_REPLICAS or LIKENESS_{name.upper()}_MIN_REPLICAS to at most {allowed}, or "
    settings = f"{fewer if allowed else ''}LIKENESS_DEVICE=cpu"
    return f"replicas: {need.first_replicas}, which need {needed:g} GPUs; there are {gpus:g}. Set {settings}"
