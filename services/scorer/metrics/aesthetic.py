"""laion-aesthetic: how beautiful people would find the picture, whatever it shows. LAION's predictor, version 2.

A linear head on the L2-normalized embedding by OpenAI's CLIP ViT-L/14, which is shared with `clip-l14` and its cache.
Raw value: the mean rating 1..10 that people would give (the head was fitted to the ratings of SAC, Logos and AVA; being
linear it has no bounds, and common pictures lie at 4..7). normalized = (raw - 1) / 9, cut to 0..1: the rating scale.

Layout: sac+logos+ava1-l14-linearMSE.pth of christophschuhmann/improved-aesthetic-predictor (simple_inference.py),
Apache-2.0. Source: Schuhmann et al. 2022, "LAION-5B: An open large-scale dataset for training next generation
image-text models".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from services.scorer import compute
from services.scorer.metrics import checkpoints
from services.scorer.metrics.base import Embedder, MetricInput, MetricSpec, Value, Vector
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.preference import linear_head
from services.scorer.metrics.text_pair import VectorMetric

FILE = "sac+logos+ava1-l14-linearMSE.pth"
DIMENSIONS = 768
LOWEST, HIGHEST = 1.0, 10.0


def build(model: ModelSource, embedder: Embedder, input_: MetricInput) -> VectorMetric:
    """Loads the head: its checkpoint by path, in a folder or from the hub.

    Args:
        model: Where the head lies.
        embedder: OpenAI's CLIP ViT-L/14.
        input_: How a metric that looks at the picture alone is declared.

    Raises:
        UnavailableError: the checkpoint is not there or does not fit, or the embedder is another model.
    """
    if embedder.spec.dimensions != DIMENSIONS:
        problem = f"it stands on CLIP ViT-L/14 with {DIMENSIONS} dimensions, {embedder.spec.id} has other"
        raise checkpoints.unavailable(model, f"{problem} ({embedder.spec.dimensions})")
    head = nn.ModuleDict({"layers": linear_head(DIMENSIONS)}).eval().requires_grad_(False)
    checkpoints.load_strictly(model, head, checkpoints.read(model, checkpoints.find(model, FILE)))
    spec = MetricSpec(
        id=model.id,
        revision=compute.revision_upon(embedder.spec.revision, head),
        description="LAION aesthetic predictor v2: mean rating that people would give the picture, 1 to 10.",
        input=input_,
        higher_is_better=True,
        minimum=None,
        maximum=None,
        preprocessing=embedder.spec.preprocessing,
        license=model.license,
        embedding_model=embedder.spec.id,
        embedded=False,
    )
    return VectorMetric(spec, embedder, rate(head["layers"]))


def rate(head: nn.Module) -> Callable[[Vector], Value]:
    """Rating of a vector by the head."""

    def value(vector: Vector) -> Value:
        with torch.inference_mode():
            unit = nn.functional.normalize(torch.tensor(vector), dim=0)
            raw = float(head(unit))
        return Value(raw, min(max((raw - LOWEST) / (HIGHEST - LOWEST), 0.0), 1.0))

    return value
