"""Where backbones are looked for, and what is said when they are not there, broken or others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from services.common.errors import UnavailableError
from services.common.settings import Settings
from services.scorer import compute
from services.scorer.metrics import imagenet
from services.scorer.metrics.imagenet import ALEXNET, SQUEEZENET, VGG16, Backbones

MakeFeatures = Callable[[imagenet.Backbone], nn.Sequential]


def _backbones(folder: Path) -> Backbones:
    return Backbones(Settings(lpips_weights_dir=folder, device="cpu"))


@pytest.mark.parametrize(
    ("backbone", "files"),
    [
        (ALEXNET, ("alexnet_features.safetensors", "alexnet-owt-*.pth")),
        (VGG16, ("vgg16_features.safetensors", "vgg16-*.pth")),
        (SQUEEZENET, ("squeezenet1_1_features.safetensors", "squeezenet1_1-*.pth")),
    ],
)
def test_absent_weights_name_the_files_and_the_remedy(
    backbone: imagenet.Backbone, files: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError) as caught:
        _backbones(tmp_path).load(backbone)
    for words in (*files, "LIKENESS_LPIPS_WEIGHTS_DIR"):
        assert words in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_both_layouts_load_alike(tmp_path: Path, random_features: MakeFeatures) -> None:
    features = random_features(SQUEEZENET)
    state = features.state_dict()
    checkpoint = {f"features.{name}": value for name, value in state.items()}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    save_file(state, tmp_path / "a" / SQUEEZENET.file)
    torch.save({**checkpoint, "classifier.1.weight": torch.zeros(1)}, tmp_path / "b" / "squeezenet1_1-b8a52dc0.pth")
    revisions = {
        compute.weights_revision(_backbones(tmp_path / name).load(SQUEEZENET).requires_grad_(False)) for name in "ab"
    }
    assert revisions == {compute.weights_revision(features)}


def test_a_backbone_is_loaded_once(tmp_path: Path, random_features: MakeFeatures) -> None:
    save_file(random_features(SQUEEZENET).state_dict(), tmp_path / SQUEEZENET.file)
    backbones = _backbones(tmp_path)
    assert backbones.load(SQUEEZENET) is backbones.load(SQUEEZENET)


def test_the_models_folder_and_torch_hub_are_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    settings = Settings(models_dir=tmp_path)
    with pytest.raises(UnavailableError, match="models/lpips or torch hub"):
        imagenet.find(settings, VGG16)
    hub = tmp_path / "hub/hub/checkpoints/vgg16-397923af.pth"
    hub.parent.mkdir(parents=True)
    (hub.parent / "vgg16_bn-6c64b313.pth").touch()
    hub.touch()
    assert imagenet.find(settings, VGG16) == hub
    own = tmp_path / "lpips" / VGG16.file
    own.parent.mkdir()
    own.touch()
    assert imagenet.find(settings, VGG16) == own


def test_a_file_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    save_file({"0.weight": torch.zeros(1), "99.weight": torch.zeros(1)}, tmp_path / SQUEEZENET.file)
    with pytest.raises(UnavailableError, match=r"missing: 0\.bias.*unexpected: 99\.weight.*another shape: 0\.weight"):
        _backbones(tmp_path).load(SQUEEZENET)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / SQUEEZENET.file).write_bytes(b"broken")
    with pytest.raises(UnavailableError, match="is broken"):
        _backbones(tmp_path).load(SQUEEZENET)


def test_no_real_weight_is_lost(shared_folder: Path) -> None:
    folder = shared_folder / "weights/squeezenet1_1"
    if not folder.is_dir():
        pytest.skip("../shared/weights/squeezenet1_1 is absent")
    stored = load_file(folder / SQUEEZENET.file)
    loaded = _backbones(folder).load(SQUEEZENET).state_dict()
    assert loaded.keys() == {name.removeprefix("features.") for name in stored}
