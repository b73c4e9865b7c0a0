"""LoRA files with random weights for tiny pipelines, in the layouts that trainers write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

RANK = 2
ALPHA = 3.0
"""Of kohya's files, whose changes are multiplied by alpha / rank; PEFT's are taken as they are."""

Halves = tuple[torch.Tensor, torch.Tensor]
Changes = Mapping[tuple[str, str], Halves]
"""Down [rank, in, ...] and up [out, rank, ...], by part of the pipeline and name of the layer."""

_OF_DENOISERS = (".to_q", ".to_k", ".to_v", ".to_out.0", ".ff.net.2", ".proj_in")
_OF_TEXT_ENCODERS = (".q_proj", ".k_proj", ".v_proj", ".out_proj")


def random_changes(pipeline: Any, seed: int, *parts: str) -> Changes:
    """Changes of the attention layers of these parts, and of some layers near them."""
    generator = torch.Generator().manual_seed(seed)
    return {
        (part, name): _halves(module.weight, generator)
        for part in parts
        for name, module in getattr(pipeline, part).named_modules()
        if name.endswith(_OF_DENOISERS + _OF_TEXT_ENCODERS)
    }


def _halves(weight: torch.Tensor, generator: torch.Generator) -> Halves:
    down = torch.randn(RANK, *weight.shape[1:], generator=generator)
    up = torch.randn(weight.shape[0], RANK, *[1] * (weight.ndim - 2), generator=generator)
    return down * 0.2, up * 0.2


def peft_tensors(changes: Changes) -> dict[str, torch.Tensor]:
    """As `save_lora_weights` names what PEFT has trained."""
    tensors = {}
    for (part, name), (down, up) in changes.items():
        tensors[f"{part}.{_published(part, name)}.lora_A.weight"] = down
        tensors[f"{part}.{_published(part, name)}.lora_B.weight"] = up
    return tensors


def kohya_tensors(changes: Changes) -> dict[str, torch.Tensor]:
    """As sd-scripts names them."""
    is_xl = any(part == "text_encoder_2" for part, _ in changes)
    prefixes = {"unet": "lora_unet", "text_encoder": "lora_te1" if is_xl else "lora_te", "text_encoder_2": "lora_te2"}
    tensors = {}
    for (part, name), (down, up) in changes.items():
        key = f"{prefixes[part]}_{_published(part, name).replace('.', '_')}"
        tensors[f"{key}.lora_down.weight"] = down
        tensors[f"{key}.lora_up.weight"] = up
        tensors[f"{key}.alpha"] = torch.tensor(ALPHA)
    return tensors


def save(tensors: Mapping[str, torch.Tensor], file: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Writes a .safetensors file."""
    save_file({key: tensor.to(dtype).contiguous() for key, tensor in tensors.items()}, file)
    return file


@torch.no_grad()
def merge(pipeline: Any, changes: Changes, scale: float) -> Any:
    """The pipeline with the changes added to its weights: what an adapter must amount to, without any loader."""
    for (part, name), (down, up) in changes.items():
        weight = getattr(pipeline, part).get_submodule(name).weight
        weight += scale * (up.flatten(1) @ down.flatten(1)).view_as(weight)
    return pipeline


def _published(part: str, name: str) -> str:
    """A layer's name in files: those of text models have a level that newer classes lack."""
    return f"text_model.{name}" if part.startswith("text_encoder") and not name.startswith("text_model.") else name
