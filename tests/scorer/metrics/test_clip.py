"""CLIP against open_clip called by hand, on a tiny model with random weights in the embedded layout."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file

from services.common.errors import UnavailableError
from services.common.profile import Embedder, weights_digest
from services.common.settings import Settings
from services.scorer.metrics import clip
from services.scorer.metrics.cosine import cosine
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
    assert cosine(vector, read.vector).raw == pytest.approx(float(image @ text), abs=1e-6)


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
    assert cosine(a, b).raw > 0.999


def test_a_vector_does_not_depend_on_its_batch_mates(embedder: clip.ClipEmbedder, make_picture: MakePicture) -> None:
    pictures = [make_picture(seed, 20 + 7 * seed, 64) for seed in range(5)]
    together = embedder.embed(pictures)
    for picture, vector in zip(pictures, together, strict=True):
        np.testing.assert_allclose(embedder.embed([picture])[0], vector, atol=TOLERANCE)


@pytest.mark.parametrize(("tokens", "truncated"), [(13, False), (14, False), (15, True), (60, True)])
def test_a_text_over_the_token_limit_says_so(embedder: clip.ClipEmbedder, tokens: int, truncated: bool) -> None:
    # 16 tokens with start and end mark leave room for 14.
    assert embedder.embed_text(" ".join(["red"] * tokens)).truncated is truncated


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
    with pytest.raises(UnavailableError, match=r'Missing key\(s\) in state_dict: "transformer\.resblocks\.1'):
        clip.load(Settings(models_dir=tmp_path / "models", device="cpu"), embedder_config)


class TestFeatures:
    """The second metric over the last feature map."""

    @pytest.fixture(params=["vit", "resnet"])
    def towers(
        self, request: pytest.FixtureRequest, models_dir: Path, embedder_config: Embedder, tmp_path: Path
    ) -> tuple[clip.ClipEmbedder, Embedder, open_clip.CLIP, Settings]:
        """The embedder with its features, its configuration, and open_clip's own model of the same weights."""
        folder = tmp_path / "models/clip-embedded"
        shutil.copytree(models_dir / "clip-embedded", folder)
        if request.param == "resnet":
            content = json.loads((folder / clip.CONFIG_FILE).read_text())
            vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 64}
            content["model_cfg"]["vision_cfg"] = vision
            (folder / clip.CONFIG_FILE).write_text(json.dumps(content))
            torch.manual_seed(0)
            weights = open_clip.CLIP(**json.loads(json.dumps(content["model_cfg"]))).state_dict()
            save_file(weights, folder / "open_clip_model.safetensors")
        config = embedder_config.model_copy(update={"features_id": "clip-features-embedded"})
        settings = Settings(models_dir=folder.parent, device="cpu")
        reference, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        return clip.load(settings, config), config, reference.eval(), settings

    def test_they_are_the_mean_of_the_last_map_and_the_embedding_stays(
        self, towers: tuple[clip.ClipEmbedder, Embedder, open_clip.CLIP, Settings], make_picture: MakePicture
    ) -> None:
        tower, _, reference, _ = towers
        picture = make_picture(1, 90, 40)
        visual = reference.visual
        maps: list[torch.Tensor] = []
        last = visual.layer4 if hasattr(visual, "layer4") else visual.transformer
        last.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
        with torch.no_grad():
            image = reference.encode_image(tower._preprocess(picture.rgb)[None], normalize=True)[0]
            tokens = maps[0].flatten(2).mT if maps[0].ndim == 4 else visual.ln_post(maps[0])[:, 1:]
            features = torch.nn.functional.normalize(tokens.mean(dim=1), dim=-1)[0]
        (seen,) = tower.see([picture])
        np.testing.assert_allclose(seen.embedding, image, atol=TOLERANCE)
        np.testing.assert_allclose(seen.features, features, atol=TOLERANCE)

    def test_all_metrics_share_one_pass(
        self,
        towers: tuple[clip.ClipEmbedder, Embedder, open_clip.CLIP, Settings],
        make_picture: MakePicture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        _, config, _, settings = towers
        metrics = {metric.spec.id: metric for metric in clip.build(settings, config)}
        assert set(metrics) == {"clip-embedded", "clip-embedded-text", "clip-features-embedded"}
        passes: list[int] = []
        see = clip.ClipEmbedder._see

        def counted(tower: clip.ClipEmbedder, pictures: Sequence[Picture]) -> list[clip.Seen]:
            passes.append(len(pictures))
            return see(tower, pictures)

        monkeypatch.setattr(clip.ClipEmbedder, "_see", counted)
        pictures = [make_picture(seed) for seed in range(3)]
        images = metrics["clip-embedded"].embedder.embed(pictures)
        features = metrics["clip-features-embedded"].embedder.embed(pictures)
        assert passes == [3]
        spec = metrics["clip-features-embedded"].embedder.spec
        assert {vector.size for vector in features} == {spec.dimensions}
        assert {vector.size for vector in images} == {24}
        assert spec.revision == metrics["clip-embedded"].spec.revision


def test_models_of_equal_preprocessing_share_what_it_makes(
    settings: Settings, embedder_config: Embedder, make_picture: MakePicture
) -> None:
    one, other = (clip.load(settings, embedder_config.model_copy(update={"id": id_})) for id_ in ("a", "b"))
    picture = make_picture(1)
    one.embed([picture])
    other.embed([picture])
    made = [key for key in picture.made if isinstance(key, tuple) and key[0] == "input"]
    assert len(made) == 1


class TestModelsByName:
    """open_clip's own names, with the weights of a tag or of a file."""

    @pytest.fixture
    def weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Weights of the architecture `tiny`, which has the tag `openai`."""
        config = {
            "embed_dim": 24,
            "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
            "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        }
        file = tmp_path / "open_clip_model.safetensors"
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config)
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-quickgelu", {**config, "quick_gelu": True})
        tag = {"file": str(file), "quick_gelu": True}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"openai": tag})
        torch.manual_seed(0)
        save_file(open_clip.create_model("tiny", load_weights=False).state_dict(), file)
        return file

    @pytest.mark.parametrize(("source", "by_tag"), [("tiny", True), ("tiny-quickgelu", False)])
    def test_openais_weights_are_run_with_quick_gelu(
        self, source: str, by_tag: bool, weights: Path, make_picture: MakePicture
    ) -> None:
        config = Embedder(
            id="clip-b32", kind="open_clip", source=source, pretrained="openai" if by_tag else str(weights)
        )
        loaded = clip.load(Settings(device="cpu"), config)
        reference, _, preprocess = open_clip.create_model_and_transforms(
            "tiny", pretrained=str(weights), force_quick_gelu=True
        )
        picture = make_picture(1)
        with torch.no_grad():
            expected = reference.eval().encode_image(preprocess(picture.rgb)[None], normalize=True)[0]
            gelu = open_clip.create_model("tiny", pretrained=str(weights)).eval()
            other = gelu.encode_image(preprocess(picture.rgb)[None], normalize=True)[0]
        (vector,) = loaded.embed([picture])
        np.testing.assert_allclose(vector, expected, atol=TOLERANCE)
        assert not np.allclose(vector, other, atol=10 * TOLERANCE)
        assert loaded.spec.source == ("tiny:openai" if by_tag else f"{source}:{weights.name}")

    def test_keys_that_do_not_fit_are_named(self, weights: Path) -> None:
        state = load_file(weights)
        state["extra.weight"] = state.pop("visual.proj")
        save_file(state, weights)
        config = Embedder(id="clip-b32", kind="open_clip", source="tiny", pretrained="openai")
        with pytest.raises(UnavailableError, match=r"Missing.*visual\.proj.*Unexpected.*extra\.weight") as caught:
            clip.load(Settings(device="cpu"), config)
        assert str(weights.parent) not in caught.value.message
