"""PickScore against the authors' README, on a tiny CLIPModel in the layout of yuvalkirstain/PickScore_v1."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from services.common.errors import UnavailableError
from services.common.settings import Settings
from services.scorer.metrics import pickscore
from services.scorer.metrics.base import EmbeddingMetric, TextEmbedder, Value
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
TOLERANCE = 1e-4
"""Largest difference of a score of about 100 to the README's steps, and of a picture alone to a batch, in float32."""
SIDE = 32
LIMIT = 16
END = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pick") / "PickScore_v1"
    folder.mkdir()
    words = ["a</w>", "r", "e", "d</w>", "re", "red</w>", "c</w>", "<unk>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), unk_token="<unk>", model_max_length=LIMIT
    )
    tokenizer.save_pretrained(folder)
    # As in the hub repository, for 32 instead of 224 pixels.
    preprocessing = {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": SIDE, "width": SIDE},
        "size": {"shortest_edge": SIDE},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    marks = {"bos_token_id": END - 1, "eos_token_id": END, "pad_token_id": END}
    config = CLIPConfig(
        text_config=tower | marks | {"vocab_size": len(words), "max_position_embeddings": LIMIT, "hidden_act": "gelu"},
        vision_config=tower | {"image_size": SIDE, "patch_size": 8, "hidden_act": "gelu"},
        projection_dim=24,
    )
    torch.manual_seed(0)
    network = CLIPModel(config)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(0.3 * torch.randn(value.shape))
        network.logit_scale.fill_(math.log(100.0))
    network.save_pretrained(folder)
    return folder


def _build(folder: Path, **options: Any) -> EmbeddingMetric:
    return pickscore.build(Settings(device="cpu"), ModelSource("pickscore", str(folder), "MIT", **options))


@pytest.fixture(scope="module")
def metric(folder: Path) -> EmbeddingMetric:
    return _build(folder)


def _value(metric: EmbeddingMetric, text: str, picture: Picture) -> Value:
    assert isinstance(metric.embedder, TextEmbedder)
    return metric.compare(metric.embedder.embed_text(text).vector, metric.embedder.embed([picture])[0])


def _readme_score(folder: Path, text: str, picture: Picture) -> float:
    """`calc_probs` of the README up to its scores."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    image_inputs = CLIPImageProcessorPil.from_pretrained(folder)(images=[picture.rgb], return_tensors="pt")
    text_inputs = CLIPTokenizer.from_pretrained(folder)(
        text, padding=True, truncation=True, max_length=LIMIT, return_tensors="pt"
    )
    with torch.no_grad():
        image_embs = model.get_image_features(**image_inputs).pooler_output
        image_embs = image_embs / torch.norm(image_embs, dim=-1, keepdim=True)
        text_embs = model.get_text_features(**text_inputs).pooler_output
        text_embs = text_embs / torch.norm(text_embs, dim=-1, keepdim=True)
        return float((model.logit_scale.exp() * (text_embs @ image_embs.T)[0])[0])


@pytest.mark.parametrize("text", ["a red c", "red a", "red " * 40])
@pytest.mark.parametrize("size", [(64, 64), (90, 41), (33, 64)])
def test_scores_are_those_of_the_readme(
    text: str, size: tuple[int, int], metric: EmbeddingMetric, folder: Path, make_picture: MakePicture
) -> None:
    picture = make_picture(1, *size)
    assert _value(metric, text, picture).raw == pytest.approx(_readme_score(folder, text, picture), abs=TOLERANCE)


def test_a_vector_does_not_depend_on_its_batch_mates(metric: EmbeddingMetric, make_picture: MakePicture) -> None:
    pictures = [make_picture(seed, 20 + 7 * seed, 64) for seed in range(5)]
    together = metric.embedder.embed(pictures)
    for picture, vector in zip(pictures, together, strict=True):
        np.testing.assert_allclose(metric.embedder.embed([picture])[0], vector, atol=TOLERANCE / 100)
    assert np.abs(together[0] - together[1]).max() > 1e-3


@pytest.mark.parametrize(("words", "truncated"), [(14, False), (15, True), (600, True)])
def test_a_text_over_the_token_limit_says_so(words: int, truncated: bool, metric: EmbeddingMetric) -> None:
    assert isinstance(metric.embedder, TextEmbedder)
    assert metric.embedder.embed_text(" ".join(["red"] * words)).truncated is truncated


def test_normalized_is_the_chance_against_stable_diffusion_and_rises_with_the_score() -> None:
    compare = pickscore.compare(100.0)
    text = np.array([1.0, 0.0], np.float32)
    angles = [math.acos(score / 100) for score in (-100.0, 0.0, 19.0, 20.53, 22.0, 90.0)]
    values = [compare(text, np.array([math.cos(a), math.sin(a)], np.float32)) for a in angles]
    chances = [value.normalized for value in values]
    assert chances == sorted(chances)
    assert chances[3] == pytest.approx(0.5, abs=1e-4)
    assert chances[4] == pytest.approx(1 / (1 + math.exp(-1.47)), abs=1e-4)


def test_declaration(metric: EmbeddingMetric, folder: Path) -> None:
    spec = metric.spec
    assert (spec.minimum, spec.maximum) == (pytest.approx(-100.0), pytest.approx(100.0))
    assert (spec.token_limit, spec.embedding_model, metric.embedder.spec.dimensions) == (LIMIT, "pickscore", 24)
    assert metric.embedder.spec.source == "PickScore_v1"
    assert _build(folder).spec.revision == spec.revision
    half = _build(folder, dtype="bfloat16")
    assert half.spec.revision == f"{spec.revision}-bfloat16"


def test_bfloat16_stays_close(metric: EmbeddingMetric, folder: Path, make_picture: MakePicture) -> None:
    half = _build(folder, dtype="bfloat16")
    (a,), (b,) = half.embedder.embed([make_picture(1)]), metric.embedder.embed([make_picture(1)])
    assert float(a @ b) > 0.999


def test_a_checkpoint_that_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["logit_scale"]
    weights["score.weight"] = torch.zeros(1)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnavailableError, match=r"1 missing: logit_scale; 1 unexpected: score\.weight"):
        _build(tmp_path)


@pytest.mark.parametrize("missing", ["preprocessor_config.json", "model.safetensors", "config.json"])
def test_a_folder_with_a_file_missing_says_what_was_looked_for(missing: str, folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UnavailableError, match=r"pickscore did not load: (looked for|the weights)"):
        _build(tmp_path)


def test_another_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "processor"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    tokenizer = CLIPTokenizer.from_pretrained(other)
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(other)
    with pytest.raises(UnavailableError, match="the tokenizer beside it has 11 entries, the network 10"):
        _build(folder, processor=str(other))
