"""Reading and writing the embedded CLIP as an open_clip ``local-dir`` folder.

The folder names a transformers tokenizer (``hf_tokenizer_name``), which open_clip loads from the folder itself,
so that the folder works from anywhere. ``bpe.txt.gz`` holds the same tokenizer for open_clip's own class, whose
path open_clip would resolve against the working directory.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from world.training import tokenizer
from world.training.common import MODELS, replaced_folder

FOLDER = "clip-embedded"
MEAN, STD = 0.5, 0.25
IMAGE_SIZE = 96
"""Pixels a side that the vision tower sees: three quarters of a drawing, at half the cost of all of it."""
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, EMBEDDING = 128, 3, 4, 128


def model_config(vocabulary: int) -> dict[str, Any]:
    """The two towers: a small ModifiedResNet and a small causal transformer."""
    return {
        "embed_dim": EMBEDDING,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "layers": [1, 1, 1, 1],
            "width": 24,
            "patch_size": None,
            "head_width": 64,
        },
        "text_cfg": {
            "context_length": tokenizer.CONTEXT,
            "vocab_size": vocabulary,
            "width": TEXT_WIDTH,
            "heads": TEXT_HEADS,
            "layers": TEXT_LAYERS,
        },
    }


def build(vocabulary: int) -> open_clip.CLIP:
    """An untrained model."""
    return open_clip.CLIP(**model_config(vocabulary))


def export(model: open_clip.CLIP, vocabulary: int) -> None:
    """Write ``models/clip-embedded`` in half precision."""
    config = model_config(vocabulary)
    config["text_cfg"]["hf_tokenizer_name"] = "."  # any name: with local-dir open_clip reads the folder itself
    preprocess = {
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "size": IMAGE_SIZE,
    }
    with replaced_folder(MODELS / FOLDER) as folder:
        shutil.copytree(tokenizer.folder(), folder, dirs_exist_ok=True)
        weights = {
            name: (value.half() if value.is_floating_point() else value).contiguous()
            for name, value in model.state_dict().items()
        }
        save_file(weights, folder / "open_clip_model.safetensors")
        content = {"model_cfg": config, "preprocess_cfg": preprocess}
        (folder / "open_clip_config.json").write_text(json.dumps(content, indent=1) + "\n")


def load_clip(folder: Path | None = None) -> tuple[open_clip.CLIP, Any, Any]:
    """The model in float32 and eval mode, its picture transform and its tokenizer."""
    name = f"local-dir:{(folder or MODELS / FOLDER).resolve()}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    return model.float().eval(), preprocess, open_clip.get_tokenizer(name)


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures [B, 3, H, W] in 0..1 as the vision tower wants them, [B, 3, 96, 96]."""
    size = (IMAGE_SIZE, IMAGE_SIZE)
    smaller = functional.interpolate(pictures, size, mode="bicubic", antialias=True, align_corners=False)
    return (smaller.clamp(0, 1) - MEAN) / STD


@torch.no_grad()
def embed_pictures(model: nn.Module, pictures: torch.Tensor, batch: int = 250) -> torch.Tensor:
    """Unit vectors [N, 128] of pictures in 0..1."""
    return torch.cat([model.encode_image(normalise(part), normalize=True) for part in pictures.split(batch)])
