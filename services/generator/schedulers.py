"""Schedulers by name: diffusers classes built from the configuration a model ships with."""

from __future__ import annotations

import copy
import inspect
from functools import lru_cache
from typing import Any, NamedTuple

import diffusers
import torch

CLASSES: dict[str, str] = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Schedulers that can take another's place in noise-prediction and velocity-prediction models."""

_OWN_ONLY: dict[str, str] = {"pndm": "PNDMScheduler", "flow_euler": "FlowMatchEulerDiscreteScheduler"}
"""Offered only by models that ship with them: PNDM cannot start from pure noise, flow matching is another process."""

_PREDICTIONS = ("epsilon", "v_prediction")


def names_for(own: Any) -> tuple[str, ...]:
    """Names a model offers, its own scheduler first.

    Args:
        own: The scheduler that the model ships with.
    """
    own_class = type(own).__name__
    known = {class_name: name for name, class_name in (CLASSES | _OWN_ONLY).items()}
    first = known.get(own_class, own_class)
    compatible = {kind.__name__ for kind in own.compatibles}
    if own.config.get("prediction_type", "epsilon") not in _PREDICTIONS:
        compatible = set()
    return (first, *(name for name, class_name in CLASSES.items() if name != first and class_name in compatible))


def build(name: str, own: Any) -> Any:
    """A fresh scheduler: schedulers keep state between steps, so none is used for two pictures.

    Args:
        name: One of `names_for(own)`.
        own: The scheduler that the model ships with.
    """
    # Building one computes its noise schedule, which can take as long as a picture's steps of it together.
    return copied(_built(name, own))


def copied(scheduler: Any) -> Any:
    """A scheduler with a state of its own, as it was before its first step.

    Tensors are shared: once they are made, schedulers put others in their places and never write into them.
    """
    shared = {id(value): value for value in vars(scheduler).values() if isinstance(value, torch.Tensor)}
    return copy.deepcopy(scheduler, shared)


@lru_cache(maxsize=64)
def _built(name: str, own: Any) -> Any:
    class_name = (CLASSES | _OWN_ONLY).get(name, type(own).__name__)
    kind = type(own) if class_name == type(own).__name__ else getattr(diffusers, class_name)
    return kind.from_config(own.config)


class Stepped(NamedTuple):
    """Latents [B, ...] after a scheduler's step."""

    latents: torch.Tensor
    clean: torch.Tensor
    """What the scheduler took the finished latents for; the latents as they are where it does not say."""


def step(
    scheduler: Any, output: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor, generator: torch.Generator
) -> Stepped:
    """A scheduler's step, with the arguments that stock pipelines give it.

    Args:
        scheduler: Its timesteps set.
        output: Guided model output, shaped as `latents`.
        timestep: The next of the scheduler's timesteps.
        latents: Before the step.
        generator: Draws the noise of schedulers that add some.
    """
    arguments = {"generator": generator} if _draws(type(scheduler).step) else {}
    stepped = scheduler.step(output, timestep, latents, **arguments)
    clean = _clean(scheduler, stepped, output, latents)
    return Stepped(stepped.prev_sample, stepped.prev_sample if clean is None else clean)


def _clean(scheduler: Any, stepped: Any, output: torch.Tensor, latents: torch.Tensor) -> torch.Tensor | None:
    clean: torch.Tensor | None = stepped.get("pred_original_sample")
    kind, config = type(scheduler), scheduler.config
    if issubclass(kind, diffusers.FlowMatchEulerDiscreteScheduler):
        # The velocity leads straight to them.
        clean = latents - scheduler.sigmas[scheduler.step_index - 1] * output
    elif (issubclass(kind, diffusers.DPMSolverMultistepScheduler) and config.algorithm_type.endswith("++")) or (
        issubclass(kind, diffusers.UniPCMultistepScheduler) and config.predict_x0
    ):
        # These keep the model's outputs as what they predict of them.
        clean = scheduler.model_outputs[-1]
    return clean


@lru_cache(maxsize=64)
def _draws(step_method: Any) -> bool:
    return "generator" in inspect.signature(step_method).parameters
