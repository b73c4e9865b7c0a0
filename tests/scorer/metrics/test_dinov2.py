"""DINOv2 against transformers called as ImageRepainter's code does, on a tiny model of the true class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, BitImageProcessor, Dinov2Config, Dinov2Model

from services.common.errors import UnavailableError
from services.common.profile import Embedder
from services.common.settings import Settings
from services.scorer.metrics import dinov2
from services.scorer.metrics.base import EmbeddingMetric
from services.scorer.metrics.cosine import cosine
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
TOLERANCE = 1e-5
"""Largest difference to transformers, and between a picture alone and in a batch, in float32."""
SETTINGS = Settings(device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published layout: weights, config.json, preprocessor_config.json."""
    folder = tmp_path_factory.mktemp("dinov2") / "dinov2-base"
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=42, patch_size=14, use_swiglu_ffn=False
    )
    Dinov2Model(config).save_pretrained(folder)
    BitImageProcessor(
        size={"shortest_edge": 32},
        crop_size={"height": 28, "width": 28},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def config(folder: Path) -> Embedder:
    return Embedder(id="dinov2-b", kind="dinov2", source=str(folder), features_id="dinov2-b-cls", license="Apache-2.0")


@pytest.fixture(scope="module")
def metrics(config: Embedder) -> dict[str, EmbeddingMetric]:
    return {metric.spec.id: metric for metric in dinov2.build(SETTINGS, config)}


@pytest.mark.parametrize("size", [(64, 64), (33, 90), (20, 20)])
def test_vectors_are_those_of_transformers(
    size: tuple[int, int], folder: Path, metrics: dict[str, EmbeddingMetric], make_picture: MakePicture
) -> None:
    model = Dinov2Model.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pictures = [make_picture(seed, *size) for seed in (1, 2)]
    with torch.no_grad():
        inputs = [processor(images=picture.rgb, return_tensors="pt") for picture in pictures]
        tokens = [model(**one).last_hidden_state[0] for one in inputs]
    assert tokens[0].shape == (1 + 2 * 2, 32)
    for id_, pooled in {
        "dinov2-b": [one.mean(dim=0) for one in tokens],
        "dinov2-b-cls": [one[0] for one in tokens],
    }.items():
        vectors = metrics[id_].embedder.embed(pictures)
        for vector, expected in zip(vectors, pooled, strict=True):
            np.testing.assert_allclose(vector, expected / expected.norm(), atol=TOLERANCE)
        expected_cosine = torch.cosine_similarity(*pooled, dim=0).item()
        assert metrics[id_].compare(*vectors).raw == pytest.approx(expected_cosine, abs=TOLERANCE)


def test_both_metrics_share_one_pass_and_one_load(
    metrics: dict[str, EmbeddingMetric], make_picture: MakePicture
) -> None:
    tower = metrics["dinov2-b"].embedder
    assert isinstance(tower, dinov2.DinoEmbedder)
    seen: list[int] = []
    hook = tower._model.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    pictures = [make_picture(seed) for seed in range(3)]
    for metric in metrics.values():
        metric.embedder.embed(pictures)
    hook.remove()
    assert seen == [3]


def test_a_vector_does_not_depend_on_its_batch_mates(
    metrics: dict[str, EmbeddingMetric], make_picture: MakePicture
) -> None:
    embedder = metrics["dinov2-b"].embedder
    sizes = [(64, 64), (30, 80), (100, 40)]
    together = embedder.embed([make_picture(seed, *size) for seed, size in enumerate(sizes)])
    for seed, (size, vector) in enumerate(zip(sizes, together, strict=True)):
        np.testing.assert_allclose(embedder.embed([make_picture(seed, *size)])[0], vector, atol=TOLERANCE)


def test_declaration(metrics: dict[str, EmbeddingMetric], folder: Path) -> None:
    one, other = (metrics[id_].embedder.spec for id_ in ("dinov2-b", "dinov2-b-cls"))
    assert (one.dimensions, one.source, one.embedded, one.license) == (32, folder.name, False, "Apache-2.0")
    assert one.revision == other.revision
    assert (metrics["dinov2-b"].spec.minimum, metrics["dinov2-b"].spec.maximum) == (-1.0, 1.0)


def test_bfloat16_has_its_own_revision_and_stays_close(
    config: Embedder, metrics: dict[str, EmbeddingMetric], make_picture: MakePicture
) -> None:
    half = dinov2.build(SETTINGS, config.model_copy(update={"dtype": "bfloat16", "features_id": None}))
    assert len(half) == 1
    assert half[0].spec.revision == f"{metrics['dinov2-b'].spec.revision}-bfloat16"
    (a,), (b,) = (metric.embedder.embed([make_picture(1)]) for metric in (half[0], metrics["dinov2-b"]))
    assert cosine(a, b).raw > 0.999


class TestFolders:
    """What is refused, and how it is named."""

    @pytest.fixture
    def copied(self, folder: Path, tmp_path: Path) -> Path:
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        return tmp_path

    def _refusal(self, config: Embedder, source: Path) -> str:
        with pytest.raises(UnavailableError) as caught:
            dinov2.build(SETTINGS, config.model_copy(update={"source": str(source)}))
        assert str(source.parent) not in caught.value.message
        return caught.value.message

    def test_keys_that_do_not_fit_are_named(self, config: Embedder, copied: Path) -> None:
        state = load_file(copied / "model.safetensors")
        state["head.weight"] = state.pop("layernorm.weight")
        save_file(state, copied / "model.safetensors", metadata={"format": "pt"})
        message = self._refusal(config, copied)
        assert "missing: layernorm.weight" in message
        assert "unexpected: head.weight" in message

    @pytest.mark.parametrize(
        ("file", "named"),
        [("model.safetensors", "weights of"), ("preprocessor_config.json", "preprocessor_config.json")],
    )
    def test_an_absent_file_is_named(self, file: str, named: str, config: Embedder, copied: Path) -> None:
        (copied / file).unlink()
        assert f"looked for {named}" in self._refusal(config, copied).replace("config.json and ", "")
