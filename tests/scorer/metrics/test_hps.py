"""HPS v2 against open_clip called by hand, with a tiny CLIP in the layout of the published checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch.nn import functional

from services.common.errors import UnavailableError
from services.common.settings import Settings
from services.scorer.metrics import hps
from services.scorer.metrics.base import EmbeddingMetric, TextEmbedder, Value
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
TOLERANCE = 1e-5
"""Largest difference of a cosine to the pass by hand, and between a picture alone and in a batch, in float32."""
TINY = "tiny-hps-test"
VERSION = hps.VERSIONS["hps-v2.1"]
SIDE = 32


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> open_clip.CLIP:
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    path = tmp_path_factory.mktemp("config") / f"{TINY}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    torch.manual_seed(0)
    network = open_clip.CLIP(**open_clip.get_model_config(TINY)).eval()
    with torch.no_grad():
        network.logit_scale.fill_(math.log(50.0))
    return network


@pytest.fixture(scope="module")
def file(network: open_clip.CLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the authors' trainer saves it."""
    path = tmp_path_factory.mktemp("hps") / VERSION.file
    torch.save({"epoch": 1, "name": "hps", "state_dict": network.state_dict()}, path)
    return path


def _build(path: Path) -> EmbeddingMetric:
    return hps.build(Settings(device="cpu"), ModelSource("hps-v2.1", str(path), "Apache-2.0"), VERSION, TINY)


@pytest.fixture(scope="module")
def metric(file: Path) -> EmbeddingMetric:
    return _build(file)


def _value(metric: EmbeddingMetric, text: str, picture: Picture) -> Value:
    assert isinstance(metric.embedder, TextEmbedder)
    return metric.compare(metric.embedder.embed_text(text).vector, metric.embedder.embed([picture])[0])


def _prepared(rgb: Image.Image) -> torch.Tensor:
    """ToTensor, ResizeMaxSize(fill=0), Normalize of hpsv2's transform.py."""
    pixels = torch.tensor(np.asarray(rgb)).permute(2, 0, 1)[None].float() / 255
    scale = SIDE / max(rgb.size)
    size = [round(rgb.height * scale), round(rgb.width * scale)]
    small = functional.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True)[0]
    square = torch.zeros(3, SIDE, SIDE)
    top, left = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    square[:, top : top + size[0], left : left + size[1]] = small
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return (square - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]


@pytest.mark.parametrize("text", ["a red car", "A cat with two horns on its head", "red " * 40])
@pytest.mark.parametrize("size", [(64, 64), (90, 41), (41, 90), (20, 11)])
def test_the_score_is_the_cosine_after_the_official_preparation(
    text: str, size: tuple[int, int], metric: EmbeddingMetric, network: open_clip.CLIP, make_picture: MakePicture
) -> None:
    picture = make_picture(1, *size)
    with torch.no_grad():
        image = network.encode_image(_prepared(picture.rgb)[None], normalize=True)
        words = network.encode_text(open_clip.tokenize([text], context_length=16), normalize=True)
    assert _value(metric, text, picture).raw == pytest.approx(float(image @ words.T), abs=TOLERANCE)


@pytest.mark.parametrize("size", [(SIDE, SIDE), (SIDE, 20), (20, SIDE)])
def test_a_picture_of_the_size_already_is_padded_and_not_resized(
    size: tuple[int, int], make_picture: MakePicture
) -> None:
    rgb = make_picture(2, *size).rgb
    prepared = hps.Preparation(SIDE)(rgb)
    assert prepared.shape == (3, SIDE, SIDE)
    torch.testing.assert_close(prepared, _prepared(rgb), atol=1e-5, rtol=0)


def test_a_vector_does_not_depend_on_its_batch_mates(metric: EmbeddingMetric, make_picture: MakePicture) -> None:
    pictures = [make_picture(seed, 20 + 7 * seed, 64) for seed in range(5)]
    for picture, vector in zip(pictures, metric.embedder.embed(pictures), strict=True):
        np.testing.assert_allclose(metric.embedder.embed([picture])[0], vector, atol=TOLERANCE)


def test_normalized_is_the_chance_against_the_reference_and_rises_with_the_score() -> None:
    compare = hps.compare(50.0, VERSION.reference)
    text = np.array([1.0, 0.0], np.float32)
    angles = [math.acos(cosine) for cosine in (-1.0, 0.0, 0.2, 0.2535, 0.3, 0.9)]
    values = [compare(text, np.array([math.cos(a), math.sin(a)], np.float32)) for a in angles]
    chances = [value.normalized for value in values]
    assert chances == sorted(chances)
    assert chances[3] == pytest.approx(0.5, abs=1e-4)
    assert chances[4] == pytest.approx(1 / (1 + math.exp(-50 * (0.3 - 0.2535))), abs=1e-4)
    assert all(0 <= chance <= 1 for chance in chances)


def test_a_text_over_the_token_limit_says_so(metric: EmbeddingMetric) -> None:
    assert isinstance(metric.embedder, TextEmbedder)
    assert not metric.embedder.embed_text("red " * 14).truncated
    assert metric.embedder.embed_text("red " * 15).truncated


def test_declaration(metric: EmbeddingMetric, file: Path) -> None:
    spec = metric.spec
    assert (spec.id, spec.embedding_model, spec.minimum, spec.maximum, spec.token_limit) == (
        "hps-v2.1",
        "hps-v2.1",
        -1.0,
        1.0,
        16,
    )
    assert spec.revision == metric.embedder.spec.revision == _build(file.parent).spec.revision
    assert {name: version.file for name, version in hps.VERSIONS.items()} == {
        "hps-v2": "HPS_v2_compressed.pt",
        "hps-v2.1": "HPS_v2.1_compressed.pt",
    }


def test_the_architecture_is_that_of_the_published_checkpoints() -> None:
    config = open_clip.get_model_config(hps.ARCHITECTURE)
    assert (config["embed_dim"], config["vision_cfg"]["layers"], config["text_cfg"]["layers"]) == (1024, 32, 24)
    assert not config.get("quick_gelu", False)


def test_a_checkpoint_that_does_not_fit_is_refused(network: open_clip.CLIP, tmp_path: Path) -> None:
    state = dict(network.state_dict())
    del state["visual.proj"]
    state["score_predictor.layers.0.bias"] = torch.zeros(1)
    torch.save({"state_dict": state}, tmp_path / VERSION.file)
    problem = r"1 missing: visual\.proj; 1 unexpected: score_predictor\.layers\.0\.bias"
    with pytest.raises(UnavailableError, match=problem):
        _build(tmp_path)
