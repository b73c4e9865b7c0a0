"""The embedded preference model: its formula and its refusals on made-up weights, its taste on drawn pictures."""

from __future__ import annotations

import io
import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from services.common.errors import UnavailableError
from services.common.profile import ROOT, Embedder, load_profile
from services.common.settings import Settings
from services.scorer import registry, scoring
from services.scorer.domain import ScoreQuery, Subject
from services.scorer.metrics import clip, reward_embedded
from services.scorer.metrics.base import EmbeddingMetric, MetricInput, Value, Vector
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.clip import ClipEmbedder
from services.scorer.metrics.reward_embedded import CONFIG, WEIGHTS, RewardNetwork
from world.captions import canonical
from world.draw import render_one
from world.scene import Scene, sample_scene
from world.variations import varied

SOURCE = ModelSource("reward-embedded", "reward-embedded", "Apache-2.0")


@pytest.fixture(scope="module")
def embedder(settings: Settings, embedder_config: Embedder) -> ClipEmbedder:
    return clip.load(settings, embedder_config)


@pytest.fixture
def network(embedder: ClipEmbedder) -> RewardNetwork:
    torch.manual_seed(0)
    return RewardNetwork(embedder.spec.dimensions or 0).requires_grad_(False)


@pytest.fixture
def folder(tmp_path: Path, network: RewardNetwork, embedder: ClipEmbedder) -> Path:
    """A models folder with a head for the tiny CLIP."""
    made = tmp_path / "reward-embedded"
    made.mkdir()
    save_file(network.state_dict(), made / WEIGHTS)
    (made / CONFIG).write_text(json.dumps({"embedder_revision": embedder.spec.revision}))
    return made


def _build(folder: Path, embedder: ClipEmbedder) -> EmbeddingMetric:
    return reward_embedded.build(Settings(models_dir=folder.parent), SOURCE, embedder)


def _unit(seed: int, dimensions: int) -> Vector:
    vector = np.random.default_rng(seed).normal(size=dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_a_score_is_the_layers_multiplied_by_hand(folder: Path, embedder: ClipEmbedder, network: RewardNetwork) -> None:
    metric = _build(folder, embedder)
    dimensions = embedder.spec.dimensions or 0
    for seed in range(4):
        text, picture = _unit(seed, dimensions), _unit(seed + 10, dimensions)
        a, b = (vector.astype(float) * math.sqrt(dimensions) for vector in (text, picture))
        out = np.concatenate([a, b, a * b])
        for index in (0, 2, 4):
            layer = network.layers[index]
            out = layer.weight.double().numpy() @ out + layer.bias.double().numpy()
            if index < 4:
                out = np.array([x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in out])
        value = metric.compare(text, picture)
        assert value.raw == pytest.approx(out[0], abs=1e-5)
        assert value.normalized == pytest.approx(1 / (1 + math.exp(-out[0])), abs=1e-6)


def test_declaration(folder: Path, embedder: ClipEmbedder, network: RewardNetwork) -> None:
    metric = _build(folder, embedder)
    assert (metric.spec.input, metric.spec.embedding_model) == (MetricInput.TEXT_IMAGE, "clip-embedded")
    assert metric.embedder is embedder
    assert (metric.spec.token_limit, metric.spec.embedded) == (embedder.token_limit, True)
    network.layers[4].bias += 1
    save_file(network.state_dict(), folder / WEIGHTS)
    assert _build(folder, embedder).spec.revision != metric.spec.revision


def test_missing_weights_say_what_was_looked_for(folder: Path, embedder: ClipEmbedder, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(UnavailableError, match=f"reward-embedded did not load: looked for {WEIGHTS}"):
        _build(folder, embedder)
    with pytest.raises(UnavailableError, match="models/reward-embedded is missing; run 'make models'"):
        _build(tmp_path / "nothing" / "here", embedder)


def test_weights_of_another_shape_are_refused(folder: Path, embedder: ClipEmbedder) -> None:
    save_file(RewardNetwork(8).state_dict(), folder / WEIGHTS)
    with pytest.raises(UnavailableError, match=r"1 of another shape: layers\.0\.weight"):
        _build(folder, embedder)


def test_a_head_of_another_embedder_is_refused(folder: Path, embedder: ClipEmbedder) -> None:
    (folder / CONFIG).write_text(json.dumps({"embedder_revision": "other"}))
    with pytest.raises(UnavailableError, match=f"trained on revision other .* is {embedder.spec.revision}"):
        _build(folder, embedder)


@pytest.mark.parametrize("text", ["{", "{}", "[]", "1"])
def test_a_broken_configuration_is_refused(text: str, folder: Path, embedder: ClipEmbedder) -> None:
    (folder / CONFIG).write_text(text)
    with pytest.raises(UnavailableError, match=f"{CONFIG} is broken"):
        _build(folder, embedder)


@pytest.fixture(scope="module")
def shipped() -> EmbeddingMetric:
    """The metric of the embedded profile."""
    if not (ROOT / "models/reward-embedded" / WEIGHTS).is_file():
        pytest.skip("models/reward-embedded is not trained: run make models")
    built = registry.build(Settings(device="cpu", torch_threads=1), load_profile("embedded"))
    metric = built.metrics["reward-embedded"]
    assert isinstance(metric, EmbeddingMetric)
    return metric


@pytest.mark.usefixtures("font")
def test_more_of_the_text_and_better_quality_are_preferred(shipped: EmbeddingMetric) -> None:
    rng = random.Random(4242)
    fits, well_made = [], []
    for index in range(40):
        scene = replace(sample_scene(rng), quality="high")
        scenes = [scene, varied(scene, rng, 0.7), replace(scene, quality="low")]
        own, other, poor = _raw(shipped, canonical(scene), scenes, 60_000 + index)
        fits.append(own > other)
        well_made.append(own > poor)
    assert np.mean(fits) > 0.9
    assert np.mean(well_made) > 0.85


@pytest.mark.usefixtures("font")
def test_scores_do_not_depend_on_batch_mates(shipped: EmbeddingMetric) -> None:
    rng = random.Random(5)
    scenes = [sample_scene(rng, "any") for _ in range(6)]
    text = canonical(scenes[0])
    together = _raw(shipped, text, scenes, 70_000)
    alone = [_raw(shipped, text, [scene], 70_000)[0] for scene in scenes]
    assert together == pytest.approx(alone, abs=1e-4)
    assert len({round(score, 3) for score in together}) == 6


def _raw(metric: EmbeddingMetric, text: str, scenes: list[Scene], seed: int) -> list[float]:
    """Scores of drawings as a request gets them: PNG in, all in one batch."""
    drawn = [Subject(f"candidates[{i}]", _png(render_one(scene, seed))) for i, scene in enumerate(scenes)]
    rows = scoring.score(ScoreQuery(None, text, tuple(drawn), (metric.spec.id,)), [metric], lambda: None)
    outcomes = [row.scores[0].outcome for row in rows]
    assert all(isinstance(outcome, Value) for outcome in outcomes)
    return [outcome.raw for outcome in outcomes]  # type: ignore[union-attr]


def _png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
