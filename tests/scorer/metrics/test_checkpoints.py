"""Strict loading of published checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPConfig, CLIPModel

from services.common.errors import Reason, UnavailableError
from services.scorer.metrics import checkpoints
from services.scorer.metrics.checkpoints import ModelSource


def _source(path: Path | str) -> ModelSource:
    return ModelSource("tiny", str(path))


def test_a_file_is_found_by_its_path_and_by_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"x")
    assert checkpoints.find(_source(file), "other.pt") == file
    assert checkpoints.find(_source(tmp_path), "weights.pt") == file


@pytest.mark.parametrize("source", ["models/that/are/absent", "nobody/nothing"])
def test_what_is_not_there_is_named(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match=r"tiny did not load: looked for w\.pt in") as caught:
        checkpoints.find(_source(source), "w.pt")
    assert caught.value.reason is Reason.MODEL_UNAVAILABLE
    folder = tmp_path / "private" / "model"
    with pytest.raises(UnavailableError, match="'model'") as caught:
        checkpoints.find(_source(folder), "w.pt")
    assert "private" not in caught.value.message


@pytest.mark.parametrize("wrap", [False, True])
def test_weights_are_read_bare_or_as_a_trainer_wraps_them(wrap: bool, tmp_path: Path) -> None:
    weights = {"a": torch.ones(2)}
    path = tmp_path / "w.pt"
    torch.save({"epoch": 3, "state_dict": weights} if wrap else weights, path)
    assert torch.equal(checkpoints.read(_source(path), path)["a"], torch.ones(2))


def test_safetensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2)}, path)
    assert torch.equal(checkpoints.read(_source(path), path)["a"], torch.ones(2))


class _Runs:
    """An object that is more than data to pickle."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("a checkpoint ran code",)


def test_a_file_that_is_no_checkpoint_is_refused_and_runs_no_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UnavailableError, match=r"w\.pt is broken"):
        checkpoints.read(_source(path), path)
    torch.save({"a": _Runs()}, path)
    with pytest.raises(UnavailableError, match=r"w\.pt is broken"):
        checkpoints.read(_source(path), path)
    assert "ran code" not in capsys.readouterr().out
    torch.save({"a": torch.ones(1), "epoch": 3}, path)
    with pytest.raises(UnavailableError, match="more than weights"):
        checkpoints.read(_source(path), path)


def test_loading_translates_names_and_ignores_only_what_is_declared_unused() -> None:
    network = nn.Linear(2, 1)
    state = {"old.weight": torch.full((1, 2), 3.0), "old.bias": torch.ones(1), "extra": torch.ones(1)}
    source = _source("x")
    with pytest.raises(UnavailableError, match="1 unexpected: extra"):
        checkpoints.load_strictly(source, network, state, published="old.{}".format)
    checkpoints.load_strictly(source, network, state, published="old.{}".format, unused={"extra"})
    assert network.weight.tolist() == [[3.0, 3.0]]


def test_many_names_are_counted_and_the_first_ones_spelled_out() -> None:
    state = {f"x{index}": torch.ones(1) for index in range(8)}
    with pytest.raises(UnavailableError) as caught:
        checkpoints.load_strictly(_source("x"), nn.Linear(2, 1), state)
    assert "2 missing: bias, weight; 8 unexpected: x0, x1, x2, x3, x4, x5, ..." in caught.value.message


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=tower | {"vocab_size": 20, "max_position_embeddings": 16},
        vision_config=tower | {"image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    return folder


def _saved(folder: Path, out: Path, **changes: torch.Tensor | None) -> Path:
    """A copy of a transformers folder whose weights are changed; None removes a tensor."""
    network = CLIPModel.from_pretrained(folder)
    state = network.state_dict()
    for name, value in changes.items():
        if value is None:
            del state[name]
        else:
            state[name] = value
    out.mkdir()
    save_file({name: value.contiguous() for name, value in state.items()}, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text((folder / "config.json").read_text())
    return out


def test_a_transformers_folder_with_the_index_of_positions_of_old_releases_loads(
    clip_folder: Path, tmp_path: Path
) -> None:
    folder = _saved(clip_folder, tmp_path / "m", **{"text_model.embeddings.position_ids": torch.arange(16)[None]})
    network = checkpoints.load_pretrained(_source(folder), CLIPModel)
    assert {value.dtype for value in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"logit_scale": None}, "1 missing: logit_scale"),
        ({"head.weight": torch.ones(1)}, "1 unexpected: head.weight"),
        ({"visual_projection.weight": torch.ones(8, 3)}, r"visual_projection.weight \(8, 3\) for \(8, 16\)"),
    ],
)
def test_a_transformers_folder_that_does_not_fit_is_refused(
    changes: dict[str, torch.Tensor | None], problem: str, clip_folder: Path, tmp_path: Path
) -> None:
    folder = _saved(clip_folder, tmp_path / "m", **changes)
    with pytest.raises(UnavailableError, match=problem):
        checkpoints.load_pretrained(_source(folder), CLIPModel)


def test_a_transformers_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"tiny did not load: looked for config\.json and weights"):
        checkpoints.load_pretrained(_source(tmp_path), CLIPModel)


def test_the_revision_is_that_of_values_and_number_type() -> None:
    network = nn.Linear(2, 1)
    first = checkpoints.revision(network, torch.float32)
    assert checkpoints.revision(network, torch.bfloat16) == f"{first}-bfloat16"
    with torch.no_grad():
        network.bias.add_(1)
    assert checkpoints.revision(network, torch.float32) != first
