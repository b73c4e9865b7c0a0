"""LAION aesthetic predictor v2 against its layers multiplied by hand, over an embedder without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from services.common.errors import UnavailableError
from services.scorer.metrics import aesthetic
from services.scorer.metrics.base import Embedder, EmbedderSpec, MetricInput, Vector
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.metrics.preference import linear_head
from services.scorer.metrics.text_pair import VectorMetric
from services.scorer.pictures import Picture

LAYERS = (0, 2, 4, 6, 7)
State = dict[str, torch.Tensor]


class _Clip(Embedder):
    """Stands for CLIP ViT-L/14; its vectors come from the tests."""

    def __init__(self, dimensions: int = 768, revision: str = "clip-1") -> None:
        super().__init__(EmbedderSpec("clip-l14", revision, "open-clip-1", dimensions, "ViT-L-14:openai", False, "MIT"))

    def embed(self, pictures: Sequence[Picture]) -> list[Vector]:
        raise AssertionError("the metric rates vectors, it embeds nothing")


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return {f"layers.{name}": value for name, value in linear_head(768).state_dict().items()}


@pytest.fixture(scope="module")
def file(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("aesthetic") / aesthetic.FILE
    torch.save(state, path)
    return path


def _build(path: Path, embedder: Embedder | None = None) -> VectorMetric:
    source = ModelSource("laion-aesthetic", str(path), "Apache-2.0")
    return aesthetic.build(source, embedder or _Clip(), MetricInput.IMAGE_IMAGE)


@pytest.fixture(scope="module")
def metric(file: Path) -> VectorMetric:
    return _build(file)


def _vector(seed: int) -> Vector:
    return np.random.default_rng(seed).normal(size=768).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 37.5])
def test_a_rating_is_that_of_the_layers_on_the_normalized_vector(
    scale: float, metric: VectorMetric, state: State
) -> None:
    vector = _vector(1)
    x = vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))
    for index in LAYERS:
        weight, bias = (state[f"layers.{index}.{kind}"].double().numpy() for kind in ("weight", "bias"))
        x = weight @ x + bias
    assert metric.rate(scale * vector).raw == pytest.approx(float(x[0]), abs=1e-6)


def test_an_empty_vector_is_rated_as_the_authors_code_does(metric: VectorMetric) -> None:
    assert np.isfinite(metric.rate(np.zeros(768, np.float32)).raw)


def test_normalized_is_the_place_on_the_scale_of_1_to_10() -> None:
    head = torch.nn.Linear(1, 1, bias=False)
    values = []
    for rating in (-3.0, 1.0, 5.5, 10.0, 12.0):
        with torch.no_grad():
            head.weight.fill_(rating)
        values.append(aesthetic.rate(head)(np.ones(1, np.float32)))
    assert [value.raw for value in values] == pytest.approx([-3.0, 1.0, 5.5, 10.0, 12.0])
    assert [value.normalized for value in values] == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


def test_the_revision_is_that_of_head_and_embedder(metric: VectorMetric, file: Path, state: State) -> None:
    spec = metric.spec
    assert (spec.embedding_model, spec.preprocessing, spec.token_limit) == ("clip-l14", "open-clip-1", None)
    assert (spec.minimum, spec.maximum, spec.higher_is_better) == (None, None, True)
    assert _build(file).spec.revision == spec.revision
    assert _build(file, _Clip(revision="clip-2")).spec.revision != spec.revision
    other = file.with_name("other.pth")
    torch.save(state | {"layers.7.bias": torch.ones(1)}, other)
    assert _build(other).spec.revision != spec.revision


def test_another_embedder_is_refused(file: Path) -> None:
    with pytest.raises(UnavailableError, match=r"CLIP ViT-L/14 with 768 dimensions, clip-l14 has other \(512\)"):
        _build(file, _Clip(dimensions=512))


def test_a_checkpoint_that_does_not_fit_is_refused(state: State, tmp_path: Path) -> None:
    wrong = {name.replace("layers.7.", "layers.8."): value for name, value in state.items()}
    torch.save(wrong, tmp_path / aesthetic.FILE)
    problem = r"2 missing: layers\.7\.bias, layers\.7\.weight; 2 unexpected: layers\.8\.bias, layers\.8\.weight"
    with pytest.raises(UnavailableError, match=problem):
        _build(tmp_path)
