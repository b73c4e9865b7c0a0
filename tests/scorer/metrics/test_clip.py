"""CLIP against open_clip called by hand, on a tiny model with random weights in the embedded layout."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers
from open_clip.tokenizer import SimpleTokenizer

from services.common.errors import UnavailableError
from services.common.profile import Embedder, weights_digest
from services.common.settings import Settings
from services.scorer.metrics import clip
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
TOLERANCE = 1e-5
"""Largest difference of a cosine between one picture alone and the same picture in a batch, in float32."""


@pytest.fixture(scope="module")
def embedder(settings: Settings, embedder_config: Embedder) -> clip.ClipEmbedder:
    return clip.load(settings, embedder_config)


@pytest.fixture(scope="module")
def reference(models_dir: Path) -> tuple[open_clip.CLIP, Callable[..., torch.Tensor], SimpleTokenizer]:
    folder = models_dir / "clip-embedded"
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), preprocess, SimpleTokenizer(str(folder / "bpe.txt.gz"), context_length=16)


def test_picture_and_text_vectors_are_those_of_open_clip(
    embedder: clip.ClipEmbedder,
    reference: tuple[open_clip.CLIP, Callable[..., torch.Tensor], SimpleTokenizer],
    make_picture: MakePicture,
) -> None:
    model, preprocess, tokenize = reference
    picture = make_picture(1, 90, 40)
    with torch.no_grad():
        image = model.encode_image(preprocess(picture.rgb)[None], normalize=True)[0].numpy()
        text = model.encode_text(tokenize(["a red car"]), normalize=True)[0].numpy()
    (vector,) = embedder.embed([picture])
    read = embedder.embed_text("a red car")
    np.testing.assert_allclose(vector, image, atol=1e-6)
    np.testing.assert_allclose(read.vector, text, atol=1e-6)
    assert not read.truncated
    assert clip.cosine(vector, read.vector).raw == pytest.approx(float(image @ text), abs=1e-6)


def test_half_precision_weights_compute_in_float32(embedder: clip.ClipEmbedder, make_picture: MakePicture) -> None:
    assert {p.dtype for p in embedder._model.parameters()} == {torch.float32}
    assert embedder.embed([make_picture(1)])[0].dtype == np.float32


def test_loading_does_not_depend_on_the_working_directory(
    settings: Settings,
    embedder_config: Embedder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    embedder: clip.ClipEmbedder,
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = clip.load(settings, embedder_config)
    np.testing.assert_array_equal(elsewhere.embed_text("red car").vector, embedder.embed_text("red car").vector)


def test_a_folder_with_a_transformers_tokenizer_reads_alike(
    models_dir: Path,
    embedder_config: Embedder,
    embedder: clip.ClipEmbedder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The layout that world/ trains: open_clip takes the tokenizer's files from the folder itself."""
    folder = tmp_path / "models/clip-embedded"
    shutil.copytree(models_dir / "clip-embedded", folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    del config["model_cfg"]["text_cfg"]["tokenizer_kwargs"]
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "."
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    own = SimpleTokenizer(str(folder / "bpe.txt.gz"), context_length=16)
    tokens = [*list(own.encoder)[:-2], "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_bytes(gzip.decompress((folder / "bpe.txt.gz").read_bytes()) + b"\n")
    transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16, pad_token="<|endoftext|>"
    ).save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    loaded = clip.load(Settings(models_dir=folder.parent, device="cpu"), embedder_config)
    for text in ("a red car", "red " * 14, "red " * 15):
        one, other = loaded.embed_text(text), embedder.embed_text(text)
        np.testing.assert_allclose(one.vector, other.vector, atol=1e-6)
        assert one.truncated is other.truncated


def test_declaration(embedder: clip.ClipEmbedder, models_dir: Path) -> None:
    spec = embedder.spec
    assert spec.revision == weights_digest(models_dir / "clip-embedded")
    assert (spec.dimensions, spec.source, spec.embedded, embedder.token_limit) == (24, "clip-embedded", True, 16)


def test_bfloat16_has_its_own_revision_and_stays_close(
    settings: Settings, embedder_config: Embedder, embedder: clip.ClipEmbedder, make_picture: MakePicture
) -> None:
    half = clip.load(settings, embedder_config.model_copy(update={"dtype": "bfloat16"}))
    assert half.spec.revision == f"{embedder.spec.revision}-bfloat16"
    (a,), (b,) = half.embed([make_picture(1)]), embedder.embed([make_picture(1)])
    assert clip.cosine(a, b).raw > 0.999


def test_a_vector_does_not_depend_on_its_batch_mates(embedder: clip.ClipEmbedder, make_picture: MakePicture) -> None:
    pictures = [make_picture(seed, 20 + 7 * seed, 64) for seed in range(5)]
    together = embedder.embed(pictures)
    for picture, vector in zip(pictures, together, strict=True):
        np.testing.assert_allclose(embedder.embed([picture])[0], vector, atol=TOLERANCE)


def test_identity_is_best_and_both_directions_agree(embedder: clip.ClipEmbedder, make_picture: MakePicture) -> None:
    a, b = embedder.embed([make_picture(1), make_picture(2)])
    assert clip.cosine(a, a).raw == pytest.approx(1.0)
    assert clip.cosine(a, a).adjusted == pytest.approx(0.0, abs=1e-7)
    assert clip.cosine(a, b) == clip.cosine(b, a)
    assert clip.cosine(a, b).raw < 1.0


@pytest.mark.parametrize(("tokens", "truncated"), [(13, False), (14, False), (15, True), (60, True)])
def test_a_text_over_the_token_limit_says_so(embedder: clip.ClipEmbedder, tokens: int, truncated: bool) -> None:
    # 16 tokens with start and end mark leave room for 14.
    assert embedder.embed_text(" ".join(["red"] * tokens)).truncated is truncated


def test_a_cosine_with_an_empty_vector_is_no_number() -> None:
    assert np.isnan(clip.cosine(np.zeros(3, np.float32), np.ones(3, np.float32)).raw)


def test_a_missing_folder_says_which(settings: Settings, embedder_config: Embedder) -> None:
    with pytest.raises(UnavailableError, match="models/nowhere is missing"):
        clip.load(settings, embedder_config.model_copy(update={"source": "nowhere"}))


@pytest.mark.parametrize("broken", ["open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz"])
def test_a_folder_with_a_file_missing_says_what_was_looked_for(
    broken: str, models_dir: Path, embedder_config: Embedder, tmp_path: Path
) -> None:
    shutil.copytree(models_dir, tmp_path / "models")
    (tmp_path / "models/clip-embedded" / broken).unlink()
    with pytest.raises(UnavailableError, match=r"clip-embedded.*open_clip_config.json"):
        clip.load(Settings(models_dir=tmp_path / "models", device="cpu"), embedder_config)


def test_weights_that_do_not_fit_are_refused(models_dir: Path, embedder_config: Embedder, tmp_path: Path) -> None:
    shutil.copytree(models_dir, tmp_path / "models")
    config = tmp_path / "models/clip-embedded/open_clip_config.json"
    content = json.loads(config.read_text())
    content["model_cfg"]["text_cfg"]["layers"] = 2
    config.write_text(json.dumps(content))
    with pytest.raises(UnavailableError):
        clip.load(Settings(models_dir=tmp_path / "models", device="cpu"), embedder_config)
