"""Whether every tensor of a LoRA file has its place in a pipeline; asked before any is put there.

diffusers leaves out what it finds no place for, or stops with some of it loaded: a picture that nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_pipeline import StableDiffusionXLLoraLoaderMixin
from diffusers.utils.state_dict_utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from safetensors.torch import load_file

from services.generator.adapters.files import unavailable

Tensors = Mapping[str, torch.Tensor]

MOST_NAMES = 4
"""Tensors that an error spells out; a wrong file has hundreds."""

_NAME = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_TEXT_ENCODER = "text_encoder"


def changed_parts(pipeline: Any, adapter_id: str, file: Path) -> frozenset[str]:
    """Parts of the pipeline that the file changes, such as "unet" and "text_encoder".

    Raises:
        UnavailableError: MODEL_UNAVAILABLE; the file is broken or does not fit. Names the tensors at fault.
    """
    try:
        tensors = load_file(file)
    except Exception as error:  # the reader raises many kinds
        raise unavailable(adapter_id, f"{file.name} is broken or no safetensors file; replace it") from error
    if not tensors:
        raise unavailable(adapter_id, f"{file.name} holds no tensors; replace it")
    dropped = [key for key in tensors if "dora_scale" in key]
    if dropped:
        raise unavailable(adapter_id, f"{file.name} has scales that are not taken: {_some(dropped)}")
    try:
        parts, problems = _by_part(pipeline, tensors)
    except Exception as error:  # diffusers' converters raise many kinds, mostly without naming what is wrong
        problem = f"{file.name} has no names that diffusers reads for a {type(pipeline).__name__}: {_some([*tensors])}"
        raise unavailable(adapter_id, problem) from error
    for part, those in parts.items():
        problems += _misfits(part, getattr(pipeline, part), those)
    if problems:
        counted = f"{len(problems)} of {len(tensors)} tensors have no place in it"
        raise unavailable(adapter_id, f"{file.name} does not fit the model; {counted}: {_some(problems)}")
    return frozenset(parts)


def changes_text(parts: frozenset[str]) -> bool:
    """Whether prompts are encoded otherwise when these parts are changed."""
    return any(part.startswith(_TEXT_ENCODER) for part in parts)


def _by_part(pipeline: Any, tensors: Tensors) -> tuple[dict[str, Tensors], list[str]]:
    """Tensors named as PEFT names them, by part of the pipeline; and the names that belong to none."""
    # As `load_lora_weights` of that pipeline alone does: it counts blocks in kohya's names.
    is_xl = isinstance(pipeline, StableDiffusionXLLoraLoaderMixin)
    options = {"unet_config": pipeline.unet.config} if is_xl else {}
    found = pipeline.lora_state_dict(dict(tensors), **options)
    named: Tensors = found[0] if isinstance(found, tuple) else found
    parts: dict[str, Tensors] = {}
    left = dict(named)
    for part in pipeline._lora_loadable_modules:
        own = {key.removeprefix(f"{part}."): left.pop(key) for key in named if key.startswith(f"{part}.")}
        model = getattr(pipeline, part)
        if own and model is not None:
            parts[part] = _of_text_encoder(model, own) if part.startswith(_TEXT_ENCODER) else _of_denoiser(own)
        else:
            left |= {f"{part}.{key}": tensor for key, tensor in own.items()}
    return parts, list(left)


def _of_denoiser(tensors: Tensors) -> Tensors:
    renamed: Tensors = convert_unet_state_dict_to_peft(tensors)  # type: ignore[no-untyped-call]
    return renamed


def _of_text_encoder(model: Any, tensors: Tensors) -> Tensors:
    in_diffusers = convert_state_dict_to_diffusers(tensors)  # type: ignore[no-untyped-call]
    renamed: Tensors = convert_state_dict_to_peft(in_diffusers)  # type: ignore[no-untyped-call]
    # Newer text models lack a level of names that most files have.
    level = "" if hasattr(model, "text_model") else "text_model."
    return {key.removeprefix(level): tensor for key, tensor in renamed.items()}


def _misfits(part: str, model: torch.nn.Module, tensors: Tensors) -> list[str]:
    modules = dict(model.named_modules())
    problems = []
    for key, tensor in tensors.items():
        name = _NAME.fullmatch(key)
        module = modules.get(name["module"]) if name else None
        # Of a layer that has an adapter already.
        weight = getattr(getattr(module, "base_layer", module), "weight", None)
        if name is None or weight is None:
            problems.append(f"{part}.{key}")
            continue
        down, up = (tensors.get(f"{name['module']}.lora_{side}.weight") for side in "AB")
        if down is None or up is None:
            problems.append(f"{part}.{key} without its other half")
        elif tensor.shape != _shape(name["side"], rank=len(down), weight=weight):
            fitting = tuple(_shape(name["side"], rank=len(down), weight=weight))
            problems.append(f"{part}.{key} {tuple(tensor.shape)} for {fitting}")
    return problems


def _shape(side: str, rank: int, weight: torch.Tensor) -> torch.Size:
    """Shape of a half of the change of a weight [out, in] or [out, in, height, width]."""
    if side == "A":
        return torch.Size((rank, *weight.shape[1:]))
    return torch.Size((weight.shape[0], rank, *[1] * (weight.ndim - 2)))


def _some(names: list[str]) -> str:
    further = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + further
