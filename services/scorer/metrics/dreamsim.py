"""DreamSim: distance of embeddings that were tuned on people's judgments of similarity.

One ViT or an ensemble of three, each with low-rank changes of its attention merged into the weights; the vectors of the
ensemble's members stand one after another. Raw value: 1 - cosine of the centered embeddings, 0..2, 0 for identical
pictures, symmetric; normalized = 1 - raw / 2, so that order is kept. Pictures are stretched to the network's square
(224 x 224) by Pillow's bicubic filter.

Layout: the folder of a published zip (dreamsim_<training>_checkpoint.zip), as unpacked or as the `dreamsim` package
keeps it; `pretrained` says which training:

| training | members | files |
|---|---|---|
| ensemble | DINO ViT-B/16, CLIP ViT-B/16, OpenCLIP ViT-B/16 | theirs, ensemble_lora |
| dino_vitb16 | DINO ViT-B/16 | dino_vitbase16_pretrain.pth, dino_vitb16_single_lora |
| clip_vitb32 | CLIP ViT-B/32 | clip_vitb32_pretrain.pth.tar, clip_vitb32_single_lora |
| open_clip_vitb32 | OpenCLIP ViT-B/32 | open_clip_vitb32_pretrain.pth.tar, open_clip_vitb32_single_lora |

DINO's backbone is not in the zip: the package has torch hub fetch it into `checkpoints/` of the folder, where it is
looked for too. Source: Fu et al. 2023, "DreamSim: Learning New Dimensions of Human Visual Similarity using Synthetic
Data"; ssundaram21/dreamsim (model.py, feature_extraction/), MIT.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from timm.layers import QuickGELU
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from services.common import profile as profiles
from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import checkpoints
from services.scorer.metrics.base import Embedder, EmbedderSpec, EmbeddingMetric, MetricInput, MetricSpec, Value, Vector
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.cosine import cosine
from services.scorer.pictures import Picture

PREPROCESSING = "dreamsim-squash-1"
HEAD_WIDTH = 64
"""Width of an attention head in every ViT-B."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


@dataclass(frozen=True)
class Backbone:
    """A member of a training: a ViT whose checkpoint names its tensors as DINO's code does."""

    file: str
    is_clip: bool
    """CLIP's ViTs norm the tokens before the first block and project CLS after the last; DINO's CLS is taken as it
    leaves the last block."""
    quick_gelu: bool = False


DINO = Backbone("dino_vitbase16_pretrain.pth", is_clip=False)
TRAININGS = {
    "ensemble": (
        "ensemble_lora",
        (
            DINO,
            Backbone("clip_vitb16_pretrain.pth.tar", is_clip=True, quick_gelu=True),
            Backbone("open_clip_vitb16_pretrain.pth.tar", is_clip=True),
        ),
    ),
    "dino_vitb16": ("dino_vitb16_single_lora", (DINO,)),
    "clip_vitb32": (
        "clip_vitb32_single_lora",
        (Backbone("clip_vitb32_pretrain.pth.tar", is_clip=True, quick_gelu=True),),
    ),
    "open_clip_vitb32": (
        "open_clip_vitb32_single_lora",
        (Backbone("open_clip_vitb32_pretrain.pth.tar", is_clip=True),),
    ),
}
"""Folder of the low-rank changes and the members, in the order of their vectors."""


class Member(nn.Module):
    """A ViT with what DreamSim takes from it."""

    mean: torch.Tensor
    std: torch.Tensor
    projection: torch.Tensor | None

    def __init__(self, backbone: Backbone, vit: VisionTransformer, projection: torch.Tensor | None) -> None:
        super().__init__()
        self._vit: Any = vit
        self.side_pixels = int(vit.patch_embed.img_size[0])
        self.dimensions = vit.embed_dim if projection is None else projection.shape[1]
        mean, std = OPENAI if backbone.is_clip else IMAGENET
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("projection", projection)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Vectors [N, D] of pixels [N, 3, H, W], 0..1."""
        tokens = self._vit.forward_features((pixels - self.mean) / self.std)  # [N, 1 + patches, width]
        cls: torch.Tensor = tokens[:, 0]
        return cls if self.projection is None else cls @ self.projection


class DreamSimEmbedder(Embedder):
    """Centered unit vectors of all members, one after another."""

    def __init__(self, spec: EmbedderSpec, members: nn.ModuleList, side_pixels: int, dtype: torch.dtype) -> None:
        super().__init__(spec)
        self._members = members
        self._side = side_pixels
        self._dtype = dtype
        self._device = next(members.parameters()).device

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Vectors [D] of length 1 and mean 0."""
        stacked = torch.tensor(np.stack([picture.array((self._side, self._side)) for picture in pictures]))
        pixels = (stacked.to(self._device).permute(0, 3, 1, 2).float() / 255).to(self._dtype)
        with torch.inference_mode():
            vectors = torch.cat([member(pixels) for member in self._members], dim=1).float()
            vectors = vectors - vectors.mean(dim=1, keepdim=True)
            return list(nn.functional.normalize(vectors, dim=1).cpu().numpy())


def distance(a: Vector, b: Vector) -> Value:
    """1 - cosine of two vectors; not a number if one is zero."""
    value = cosine(a, b)
    return Value(1.0 - value.raw, value.normalized)


def build(settings: Settings, embedder: profiles.Embedder) -> list[EmbeddingMetric]:
    """Loads the metric.

    Raises:
        UnavailableError: a file is not there, or its weights do not fit; says which.
    """
    source = profiles.resolve_source(settings, embedder.source, embedded=embedder.embedded)
    model = ModelSource(embedder.id, source, embedder.license)
    folder = Path(source)
    if embedder.pretrained not in TRAININGS:
        raise checkpoints.unavailable(model, f"pretrained is {embedder.pretrained!r}, allowed: {', '.join(TRAININGS)}")
    if not folder.is_dir():
        raise checkpoints.unavailable(model, "source must be the folder of an unpacked DreamSim zip")
    adapter, backbones = TRAININGS[embedder.pretrained]
    states = [_read_backbone(model, folder, backbone) for backbone in backbones]
    _merge_changes(model, folder / adapter, states)
    members = [_member(model, *pair) for pair in zip(backbones, states, strict=True)]
    ensemble = nn.ModuleList(members)
    device = compute.device_of(settings)
    dtype = compute.dtype_on(device, embedder.dtype)
    revision = checkpoints.revision(ensemble, dtype)
    loaded = DreamSimEmbedder(
        EmbedderSpec(
            id=embedder.id,
            revision=revision,
            preprocessing=PREPROCESSING,
            dimensions=sum(member.dimensions for member in members),
            source=f"{model.name}:{embedder.pretrained}",
            embedded=embedder.embedded,
            license=embedder.license,
        ),
        ensemble.to(device, dtype).eval().requires_grad_(False),
        members[0].side_pixels,
        dtype,
    )
    spec = MetricSpec(
        id=embedder.id,
        revision=revision,
        description="DreamSim: distance of embeddings tuned on people's judgments of similarity.",
        input=MetricInput.IMAGE_IMAGE,
        higher_is_better=False,
        minimum=0.0,
        maximum=2.0,
        preprocessing=PREPROCESSING,
        license=embedder.license,
        embedding_model=embedder.id,
        embedded=embedder.embedded,
    )
    return [EmbeddingMetric(spec, loaded, distance)]


def _read_backbone(model: ModelSource, folder: Path, backbone: Backbone) -> dict[str, torch.Tensor]:
    places = (folder / backbone.file, folder / "checkpoints" / backbone.file)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise checkpoints.unavailable(model, f"looked for {backbone.file} in {model.name!r} and its checkpoints folder")
    state = dict(checkpoints.read(model, path))
    needed = {"pos_embed", "patch_embed.proj.weight", *(["proj"] if backbone.is_clip else [])}
    checkpoints.check_keys(model, needed - state.keys(), (), ())
    return state


def _merge_changes(model: ModelSource, folder: Path, states: Sequence[dict[str, torch.Tensor]]) -> None:
    """Adds the low-rank changes of every block's attention, as peft saves them, to the members' weights."""
    files = (folder / "adapter_model.safetensors", folder / "adapter_model.bin")
    path = next((file for file in files if file.is_file()), None)
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise checkpoints.unavailable(model, f"looked for {folder.name}/adapter_config.json") from error
    if path is None:
        raise checkpoints.unavailable(model, f"looked for {folder.name}/{files[0].name} or {files[1].name}")
    if (config.get("target_modules"), config.get("bias")) != (["qkv"], "none"):
        raise checkpoints.unavailable(model, f"{folder.name} changes more than the weights of every block's qkv")
    changes = checkpoints.read(model, path)
    sites = {
        f"base_model.model.extractor_list.{index}.model.{name.removesuffix('.weight')}": (state, name)
        for index, state in enumerate(states)
        for name in state
        if name.endswith(".attn.qkv.weight")
    }
    expected = {f"{site}.lora_{half}.weight" for site in sites for half in "AB"}
    checkpoints.check_keys(model, expected - changes.keys(), changes.keys() - expected, ())
    for site, (state, name) in sites.items():
        down, up = (changes[f"{site}.lora_{half}.weight"].float() for half in "AB")  # [r, in] and [out, r]
        if (up.shape[0], down.shape[1]) != tuple(state[name].shape) or up.shape[1] != down.shape[0]:
            checkpoints.check_keys(model, (), (), [f"{site}.lora_A.weight"])
        state[name] = state[name].float() + config["lora_alpha"] / config["r"] * (up @ down)


def _member(model: ModelSource, backbone: Backbone, state: dict[str, torch.Tensor]) -> Member:
    """A member of the sizes that its weights have."""
    width, patch = (state["patch_embed.proj.weight"].shape[axis] for axis in (0, 2))
    patches_a_side = math.isqrt(state["pos_embed"].shape[1] - 1)
    norm = partial(nn.LayerNorm, eps=1e-5 if backbone.is_clip else 1e-6)
    vit = VisionTransformer(
        img_size=patches_a_side * patch,
        patch_size=patch,
        embed_dim=width,
        depth=sum(name.endswith(".attn.qkv.weight") for name in state),
        num_heads=width // HEAD_WIDTH,
        num_classes=0,
        norm_layer=norm,
        act_layer=QuickGELU if backbone.quick_gelu else nn.GELU,
    )
    projection = state.pop("proj").float() if backbone.is_clip else None
    if backbone.is_clip:
        vit.norm_pre = norm(width)
    # The package put CLIP's first norm where DINO's code has a dropout.
    published = {name: name.replace("norm_pre.", "pos_drop.") for name in vit.state_dict()}
    checkpoints.load_strictly(model, vit, state, published=published.__getitem__)
    if not backbone.is_clip:
        vit.norm = nn.Identity()
    return Member(backbone, vit, projection)
