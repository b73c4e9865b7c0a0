"""BLIP ITM against transformers' own forward pass, in the layout of Salesforce/blip-itm-base-coco."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval

from services.common.errors import UnavailableError
from services.common.settings import Settings
from services.scorer.metrics import blip_itm
from services.scorer.metrics.blip_itm import BlipItm
from services.scorer.metrics.checkpoints import ModelSource
from services.scorer.pictures import Picture
from tests.scorer.metrics import tiny_blip

MakePicture = Callable[..., Picture]
TOLERANCE = 1e-5
"""Largest difference of a probability to transformers, and between a picture alone and in a batch, in float32."""
MEAN, DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("itm") / "blip"
    config = BlipConfig(
        text_config=tiny_blip.TEXT.to_dict(), vision_config=tiny_blip.VISION.to_dict(), image_text_hidden_size=8
    )
    network = BlipForImageTextRetrieval(config)
    tiny_blip.shake(network)
    network.save_pretrained(folder)
    tiny_blip.write_tokenizer(folder)
    # As in the hub repository, for 32 instead of 384 pixels.
    preprocessing = {
        "image_processor_type": "BlipImageProcessor",
        "processor_class": "BlipProcessor",
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": MEAN,
        "image_std": DEVIATION,
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": tiny_blip.SIDE_PIXELS, "width": tiny_blip.SIDE_PIXELS},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder


def _build(folder: Path, **options: Any) -> BlipItm:
    source = ModelSource("blip-itm", str(folder), "BSD-3-Clause", **options)
    return blip_itm.build(Settings(device="cpu"), source)


@pytest.fixture(scope="module")
def metric(folder: Path) -> BlipItm:
    return _build(folder)


def _by_transformers(folder: Path, text: str, picture: Picture) -> float:
    network = BlipForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
    read = BertTokenizer.from_pretrained(str(folder))(
        text, padding="max_length", truncation=True, max_length=35, return_tensors="pt"
    )
    side = tiny_blip.SIDE_PIXELS
    small = np.asarray(picture.rgb.resize((side, side), Image.Resampling.BICUBIC)).astype(np.float32) / 255
    pixels = torch.from_numpy((small - np.float32(MEAN)) / np.float32(DEVIATION)).permute(2, 0, 1)[None]
    with torch.no_grad():
        answer = network(input_ids=read["input_ids"], attention_mask=read["attention_mask"], pixel_values=pixels)
    return float(answer.itm_score.softmax(-1)[0, 1])


@pytest.mark.parametrize("text", ["a red car", "blue cars, a red car", "red " * 60])
@pytest.mark.parametrize("size", [(32, 32), (90, 41)])
def test_probabilities_are_those_of_transformers(
    text: str, size: tuple[int, int], metric: BlipItm, folder: Path, make_picture: MakePicture
) -> None:
    picture = make_picture(1, *size)
    (value,) = metric.score(text, [picture]).values
    assert value.raw == pytest.approx(_by_transformers(folder, text, picture), abs=TOLERANCE)
    assert value.normalized == value.raw


def test_a_value_depends_on_text_and_picture_and_not_on_batch_mates(metric: BlipItm, make_picture: MakePicture) -> None:
    pictures = [make_picture(seed, 20 + 7 * seed, 64) for seed in range(10)]
    together = [value.raw for value in metric.score("a red car", pictures).values]
    alone = [metric.score("a red car", [picture]).values[0].raw for picture in pictures]
    assert together == pytest.approx(alone, abs=TOLERANCE)
    assert max(together) - min(together) > 100 * TOLERANCE
    other = [value.raw for value in metric.score("blue cars", pictures).values]
    assert max(abs(a - b) for a, b in zip(together, other, strict=True)) > 10 * TOLERANCE
    assert all(0 <= value <= 1 for value in together + other)


@pytest.mark.parametrize(("words", "truncated"), [(33, False), (34, True)])
def test_a_text_over_35_tokens_says_so(words: int, truncated: bool, metric: BlipItm, make_picture: MakePicture) -> None:
    assert metric.score(" ".join(["red"] * words), [make_picture(1)]).truncated is truncated


def test_declaration(metric: BlipItm, folder: Path) -> None:
    spec = metric.spec
    assert (spec.id, spec.minimum, spec.maximum, spec.token_limit) == ("blip-itm", 0.0, 1.0, 35)
    assert _build(folder).spec.revision == spec.revision
    assert _build(folder, dtype="bfloat16").spec.revision == f"{spec.revision}-bfloat16"


def test_bfloat16_stays_close(metric: BlipItm, folder: Path, make_picture: MakePicture) -> None:
    pictures = [make_picture(seed) for seed in range(3)]
    full = [value.raw for value in metric.score("a red car", pictures).values]
    half = [value.raw for value in _build(folder, dtype="bfloat16").score("a red car", pictures).values]
    assert half == pytest.approx(full, abs=0.05)


def test_the_index_of_positions_that_the_hub_repository_holds_is_no_surprise(
    folder: Path, tmp_path: Path, metric: BlipItm
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights["text_encoder.embeddings.position_ids"] = torch.arange(64)[None]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    assert _build(tmp_path).spec.revision == metric.spec.revision


def test_a_checkpoint_that_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["itm_head.bias"]
    weights["text_decoder.bias"] = torch.zeros(1)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnavailableError, match=r"1 missing: itm_head\.bias; 1 unexpected: text_decoder\.bias"):
        _build(tmp_path)


@pytest.mark.parametrize("file", ["vocab.txt", "preprocessor_config.json", "model.safetensors"])
def test_a_folder_with_a_file_missing_says_what_was_looked_for(file: str, folder: Path, tmp_path: Path) -> None:
    for existing in folder.iterdir():
        if existing.name != file:
            (tmp_path / existing.name).write_bytes(existing.read_bytes())
    with pytest.raises(UnavailableError, match=r"blip-itm did not load: (looked for|the tokenizer)"):
        _build(tmp_path)
