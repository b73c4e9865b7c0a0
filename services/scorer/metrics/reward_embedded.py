"""reward-embedded: which of several pictures fits the text and is well made, by a small head on the embedded CLIP.

A preference model in miniature, trained on drawings alone (`world/training/reward.py`): a picture is preferred when it
shows more of what the text says, and when it is of high instead of low quality. It shares the vectors of the
profile's embedder and their cache; the head reads both and their product.

Raw value: an unbounded score, 0 for a mean drawing of its training. The chance that a is preferred to b is
sigmoid(raw a - raw b), where one more attribute that is right counts about 1. normalized is the chance against a score
of 0. Scores of different texts are not comparable.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from services.common.profile import resolve_source
from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import checkpoints
from services.scorer.metrics.base import EmbeddingMetric, MetricInput, MetricSpec, TextEmbedder, Value, Vector
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.preference import win_probability

WEIGHTS, CONFIG = "model.safetensors", "config.json"
WIDTH = 192


class RewardNetwork(nn.Module):
    """Unit vectors of texts and pictures, both [N, D], to scores [N]."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        # Entries of a unit vector are about 1 / sqrt(D); layers start out for about 1.
        self._scale = dimensions**0.5
        self.layers = nn.Sequential(
            nn.Linear(3 * dimensions, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1)
        )

    def forward(self, texts: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        """Scores, each of its own row alone."""
        a, b = texts * self._scale, pictures * self._scale
        scores: torch.Tensor = self.layers(torch.cat([a, b, a * b], dim=1))[:, 0]
        return scores


def build(settings: Settings, model: ModelSource, embedder: TextEmbedder) -> EmbeddingMetric:
    """Loads the head from its folder under the models folder.

    Raises:
        UnavailableError: the weights are not there or do not fit, or were trained on another embedder.
    """
    folder = Path(resolve_source(settings, model.source, embedded=True))
    source = ModelSource(model.id, str(folder), model.license)
    weights, config = (checkpoints.find(source, name) for name in (WEIGHTS, CONFIG))
    try:
        trained_on = json.loads(config.read_text(encoding="utf-8"))["embedder_revision"]
    except (ValueError, KeyError, TypeError) as error:
        raise checkpoints.unavailable(source, f"{CONFIG} is broken; replace it") from error
    if embedder.spec.revision != trained_on:
        problem = f"it was trained on revision {trained_on} of {embedder.spec.id}, which is {embedder.spec.revision}"
        raise checkpoints.unavailable(source, f"{problem}; run 'python -m world.training.reward'")
    network = RewardNetwork(embedder.spec.dimensions or 0)
    checkpoints.load_strictly(source, network, checkpoints.read(source, weights))
    network = network.float().eval().requires_grad_(False)
    spec = MetricSpec(
        id=model.id,
        revision=compute.revision_upon(embedder.spec.revision, network),
        description="Preference model of the drawn world: fit to the text and quality of the picture.",
        input=MetricInput.TEXT_IMAGE,
        higher_is_better=True,
        minimum=None,
        maximum=None,
        preprocessing=embedder.spec.preprocessing,
        license=model.license,
        embedding_model=embedder.spec.id,
        token_limit=embedder.token_limit,
    )
    return EmbeddingMetric(spec, embedder, compare(network))


def compare(network: RewardNetwork) -> Callable[[Vector, Vector], Value]:
    """Score of a text and a picture, with the chance to be preferred before a picture that scores 0."""

    def value(text: Vector, picture: Vector) -> Value:
        with torch.inference_mode():
            raw = float(network(torch.tensor(text)[None], torch.tensor(picture)[None]))
        return Value(raw, win_probability(raw))

    return value
