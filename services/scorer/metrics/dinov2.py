"""DINOv2 by transformers: `<embedder>` compares the mean of all last tokens, its `features_id` the CLS token alone.

Raw value: cosine (`cosine.py`). The mean is over CLS and patches after the last layer norm, as ImageRepainter's code
takes it; CLS is what the authors of DINOv2 classify by. One pass gives both. Pictures go through the model's own
preprocessing (facebook/dinov2-base: shorter side to 256, middle 224 x 224) on Pillow, as when the model was published.
Layout: transformers' Dinov2Model with preprocessor_config.json, a hub id or folder. Source: Oquab et al. 2024, "DINOv2:
Learning Robust Visual Features without Supervision".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import AutoImageProcessor, Dinov2Model

from services.common import profile as profiles
from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import checkpoints
from services.scorer.metrics.base import Embedder, EmbedderSpec, EmbeddingMetric, Vector
from services.scorer.metrics.cosine import image_metric
from services.scorer.pictures import Picture, made_once

PREPROCESSING = "dinov2-pil-1"


@dataclass(frozen=True, eq=False)
class Tokens:
    """What one pass gives; unit vectors."""

    mean: Vector
    cls: Vector


class DinoEmbedder(Embedder):
    """Mean of all last tokens, L2-normalized."""

    def __init__(self, spec: EmbedderSpec, model: nn.Module, processor: Any, dtype: torch.dtype) -> None:
        super().__init__(spec)
        self._model: Any = model
        self._processor = processor
        self._dtype = dtype
        self._device = next(model.parameters()).device

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Unit vectors [D] of pictures."""
        return [tokens.mean for tokens in self.see(pictures)]

    def see(self, pictures: Sequence[Picture]) -> list[Tokens]:
        """One pass over the pictures that had none yet."""
        return made_once(("dinov2", self.spec.id, self.spec.revision), pictures, self._see)

    def _see(self, pictures: Sequence[Picture]) -> list[Tokens]:
        inputs = self._processor(images=[picture.rgb for picture in pictures], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            # [N, 1 + patches, D], the CLS token first
            tokens = self._model(inputs.to(self._device, self._dtype)).last_hidden_state.float()
            mean, cls = (
                nn.functional.normalize(vectors, dim=-1).cpu().numpy() for vectors in (tokens.mean(dim=1), tokens[:, 0])
            )
        return [Tokens(*pair) for pair in zip(mean, cls, strict=True)]


class ClsEmbedder(Embedder):
    """The CLS token alone, L2-normalized."""

    def __init__(self, id_: str, tower: DinoEmbedder) -> None:
        super().__init__(replace(tower.spec, id=id_))
        self._tower = tower

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        """Unit vectors [D] of pictures."""
        return [tokens.cls for tokens in self._tower.see(pictures)]


def build(settings: Settings, embedder: profiles.Embedder) -> list[EmbeddingMetric]:
    """Loads the model; one metric, or two where the profile gives a `features_id`.

    Raises:
        UnavailableError: weights or preprocessing are not there or do not fit; says which.
    """
    source = profiles.resolve_source(settings, embedder.source, embedded=embedder.embedded)
    checkpoint = checkpoints.ModelSource(embedder.id, source, embedder.license, embedder.revision)
    device = compute.device_of(settings)
    dtype = compute.dtype_on(device, embedder.dtype)
    model: Any = checkpoints.load_pretrained(checkpoint, Dinov2Model)
    try:
        processor = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            source, revision=embedder.revision, backend="pil"
        )
    except Exception as error:  # transformers raises many kinds for missing files, names and networks
        problem = f"looked for preprocessor_config.json of {checkpoint.name!r}"
        raise checkpoints.unavailable(checkpoint, problem) from error
    spec = EmbedderSpec(
        id=embedder.id,
        revision=checkpoints.revision(model, dtype),
        preprocessing=PREPROCESSING,
        dimensions=int(model.config.hidden_size),
        source=checkpoint.name,
        embedded=embedder.embedded,
        license=embedder.license,
    )
    tower = DinoEmbedder(spec, model.to(device, dtype).eval().requires_grad_(False), processor, dtype)
    metrics = [image_metric(tower, "Cosine of the mean last tokens of DINOv2.")]
    if embedder.features_id:
        cls = ClsEmbedder(embedder.features_id, tower)
        metrics.append(image_metric(cls, "Cosine of the CLS tokens of DINOv2."))
    return metrics
