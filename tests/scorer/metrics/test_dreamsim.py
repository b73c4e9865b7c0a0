"""DreamSim against the dreamsim package, on tiny ViTs written in the published layout."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from services.common.errors import UnavailableError
from services.common.profile import Embedder
from services.common.settings import Settings
from services.scorer.metrics import dreamsim
from services.scorer.metrics.base import EmbeddingMetric
from services.scorer.metrics.dreamsim import TRAININGS
from services.scorer.pictures import Picture

MakePicture = Callable[..., Picture]
TOLERANCE = 1e-5
"""Largest difference to the package, and between a picture alone and in a batch, in float32."""
BFLOAT16_TOLERANCE = 0.01
"""Largest distance of a picture's vectors in bfloat16 and float32 on a CPU."""
WIDTH, PATCH, SIDE, DEPTH, RANK = 128, 112, 224, 12, 2
"""DINO's code in the package takes the output of the twelfth block, whatever the depth."""


def _backbone_state(seed: int, *, is_clip: bool) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + (SIDE // PATCH) ** 2, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for block in range(DEPTH):
        layers = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
        for name, (out, in_) in layers.items():
            shapes[f"blocks.{block}.{name}.weight"] = (out * WIDTH, in_ * WIDTH)
            shapes[f"blocks.{block}.{name}.bias"] = (out * WIDTH,)
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{norm}.{kind}": (WIDTH,) for kind in ("weight", "bias")}
    if is_clip:
        shapes |= {"pos_drop.weight": (WIDTH,), "pos_drop.bias": (WIDTH,), "proj": (WIDTH, 48)}
    return {name: 0.1 * torch.randn(shape, generator=random) for name, shape in shapes.items()}


def _write(folder: Path, training: str) -> None:
    adapter, backbones = TRAININGS[training]
    random = torch.Generator().manual_seed(9)
    changes = {}
    for index, backbone in enumerate(backbones):
        state = _backbone_state(index, is_clip=backbone.is_clip)
        torch.save({"state_dict": state} if backbone.is_clip else state, folder / backbone.file)
        for block in range(DEPTH):
            site = f"base_model.model.extractor_list.{index}.model.blocks.{block}.attn.qkv"
            changes[f"{site}.lora_A.weight"] = torch.randn(RANK, WIDTH, generator=random)
            changes[f"{site}.lora_B.weight"] = torch.randn(3 * WIDTH, RANK, generator=random)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 0.5, "lora_dropout": 0.3, "bias": "none"}
    (folder / adapter).mkdir()
    (folder / adapter / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["qkv"]}))
    torch.save(changes, folder / adapter / "adapter_model.bin")


@dataclass(frozen=True)
class Published:
    """A folder in the published layout, and a profile's entry for it."""

    folder: Path
    config: Embedder

    def build(self) -> EmbeddingMetric:
        (metric,) = dreamsim.build(Settings(device="cpu"), self.config)
        return metric


@pytest.fixture
def published(request: pytest.FixtureRequest, tmp_path: Path) -> Published:
    """The training that the test names, or the smallest."""
    training = getattr(request, "param", "dino_vitb16")
    _write(tmp_path, training)
    return Published(tmp_path, Embedder(id="dreamsim", kind="dreamsim", source=str(tmp_path), pretrained=training))


@pytest.mark.parametrize("published", TRAININGS, indirect=True)
def test_vectors_and_distances_are_those_of_the_package(
    published: Published, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dreamsim", reason="dreamsim is not installed")
    model, preprocess = _package(published, monkeypatch)
    metric = published.build()
    a, b = make_picture(1, 300, 200), make_picture(2, 64, 64)
    with torch.no_grad():
        expected = [model.embed(preprocess(picture.rgb))[0].numpy() for picture in (a, b)]
        distance = float(model(preprocess(a.rgb), preprocess(b.rgb)))
    vectors = metric.embedder.embed([a, b])
    assert metric.embedder.spec.dimensions == vectors[0].size
    np.testing.assert_allclose(vectors, expected, atol=TOLERANCE)
    assert metric.compare(*vectors).raw == pytest.approx(distance, abs=TOLERANCE)


def _package(published: Published, monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, Callable[..., torch.Tensor]]:
    """The package's model of the same files; only its architectures are made as small as they are."""
    from dreamsim import dreamsim as load
    from dreamsim.feature_extraction import extractor, load_clip_as_dino, load_open_clip_as_dino, vision_transformer

    def vit(patch_size: int) -> nn.Module:
        norm = partial(nn.LayerNorm, eps=1e-6)
        return vision_transformer.VisionTransformer(
            img_size=[SIDE], patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=2, qkv_bias=True, norm_layer=norm
        )

    create = extractor.ViTExtractor.create_model

    def create_model(model_type: str, load_dir: str) -> object:
        if not model_type.startswith("dino"):
            return create(model_type, load_dir)
        model = vit(PATCH)
        model.load_state_dict(torch.load(Path(load_dir) / dreamsim.DINO.file))
        return model

    for module in (load_clip_as_dino, load_open_clip_as_dino):
        monkeypatch.setattr(module, "vit_base", vit)
    monkeypatch.setattr(extractor.ViTExtractor, "create_model", staticmethod(create_model))
    # Only its cosine head needs this file; the package wants it there.
    (published.folder / "dino_vitb16_pretrain.pth").touch()
    strides = {"stride": ",".join([str(PATCH)] * len(TRAININGS[published.config.pretrained or ""][1]))}
    from dreamsim.config import dreamsim_args

    monkeypatch.setitem(
        dreamsim_args["model_config"],
        published.config.pretrained,
        {**dreamsim_args["model_config"][published.config.pretrained], **strides},
    )
    with warnings.catch_warnings():
        # The package has peft put its changes in twice.
        warnings.simplefilter("ignore")
        return load(
            pretrained=True, device="cpu", cache_dir=str(published.folder), dreamsim_type=published.config.pretrained
        )


def test_identity_symmetry_and_independence_of_batch_mates(published: Published, make_picture: MakePicture) -> None:
    metric = published.build()
    pictures = [make_picture(seed, 40 + 30 * seed, 64) for seed in range(3)]
    together = metric.embedder.embed(pictures)
    for picture, vector in zip(pictures, together, strict=True):
        np.testing.assert_allclose(metric.embedder.embed([picture])[0], vector, atol=TOLERANCE)
    a, b, _ = together
    assert metric.compare(a, b) == metric.compare(b, a)
    assert metric.compare(a, b).raw > 0
    same = metric.compare(a, a)
    assert (same.raw, same.adjusted) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert metric.compare(a, b).adjusted == pytest.approx(metric.compare(a, b).raw / 2)


def test_bfloat16_has_its_own_revision_and_stays_close(published: Published, make_picture: MakePicture) -> None:
    whole = published.build()
    half = Published(published.folder, published.config.model_copy(update={"dtype": "bfloat16"})).build()
    assert half.spec.revision == f"{whole.spec.revision}-bfloat16"
    (a,), (b,) = (metric.embedder.embed([make_picture(1)]) for metric in (whole, half))
    assert whole.compare(a, b).raw < BFLOAT16_TOLERANCE


def test_low_rank_changes_change_the_vectors(published: Published, make_picture: MakePicture) -> None:
    with_changes = published.build()
    path = published.folder / "dino_vitb16_single_lora/adapter_model.bin"
    torch.save({name: torch.zeros_like(value) for name, value in torch.load(path).items()}, path)
    without = published.build()
    assert with_changes.spec.revision != without.spec.revision
    one, other = (metric.embedder.embed([make_picture(1)])[0] for metric in (with_changes, without))
    assert not np.allclose(one, other, atol=1e-3)


def test_the_packages_own_cache_folder_is_taken(published: Published) -> None:
    expected = published.build().spec.revision
    (published.folder / "checkpoints").mkdir()
    (published.folder / dreamsim.DINO.file).rename(published.folder / "checkpoints" / dreamsim.DINO.file)
    assert published.build().spec.revision == expected


class TestRefusals:
    """What is absent or does not fit is named."""

    def test_an_unknown_training_names_the_known_ones(self, published: Published) -> None:
        other = Published(published.folder, published.config.model_copy(update={"pretrained": None}))
        with pytest.raises(UnavailableError, match="allowed: ensemble, dino_vitb16"):
            other.build()

    @pytest.mark.parametrize(
        "file",
        [
            "dino_vitbase16_pretrain.pth",
            "dino_vitb16_single_lora/adapter_config.json",
            "dino_vitb16_single_lora/adapter_model.bin",
        ],
    )
    def test_an_absent_file_is_named(self, file: str, published: Published) -> None:
        (published.folder / file).unlink()
        with pytest.raises(UnavailableError, match=Path(file).name) as caught:
            published.build()
        assert str(published.folder.parent) not in caught.value.message

    def test_keys_of_the_backbone_that_do_not_fit_are_named(self, published: Published) -> None:
        path = published.folder / dreamsim.DINO.file
        state = torch.load(path)
        state["head.weight"] = state.pop("norm.weight")
        torch.save(state, path)
        with pytest.raises(UnavailableError, match=r"missing: norm\.weight.*unexpected: head\.weight"):
            published.build()

    def test_changes_that_do_not_fit_are_named(self, published: Published) -> None:
        path = published.folder / "dino_vitb16_single_lora/adapter_model.bin"
        changes = torch.load(path)
        site = "base_model.model.extractor_list.0.model.blocks"
        changes[f"{site}.12.attn.qkv.lora_A.weight"] = changes.pop(f"{site}.11.attn.qkv.lora_A.weight")
        torch.save(changes, path)
        with pytest.raises(UnavailableError, match=r"missing: .*blocks\.11.*unexpected: .*blocks\.12"):
            published.build()

    def test_changes_of_other_layers_are_refused(self, published: Published) -> None:
        path = published.folder / "dino_vitb16_single_lora/adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "target_modules": ["qkv", "fc1"]}))
        with pytest.raises(UnavailableError, match="more than the weights of every block's qkv"):
            published.build()
