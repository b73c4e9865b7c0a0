"""Adapters that cannot be used are absent with a reason; the model and its other adapters stay as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from diffusers import StableDiffusionPipeline

from services.common.errors import UnavailableError
from services.common.profile import Adapter
from services.common.settings import Settings
from services.generator.adapters.files import digest
from services.generator.adapters.loading import load_adapters
from services.generator.adapters.switch import Adapters
from services.generator.domain import AdapterCard
from services.generator.families.base import Family
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.adapters.conftest import with_adapters
from tests.generator.adapters.lora_files import Changes, kohya_tensors, peft_tensors, save
from tests.generator.adapters.test_parity import RECORD
from tests.generator.families import tiny_families
from tests.generator.families.running import alone, assert_same
from tests.generator.tiny import TINY

Tensors = dict[str, torch.Tensor]
QUERY = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
DOWN, UP = f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight"
KOHYA = f"lora_unet_{QUERY.replace('.', '_')}"


@pytest.fixture(scope="module")
def family(models_dir: Path) -> Family:
    """The tiny model without adapters; a test leaves it so."""
    return load_model(TINY, Settings(models_dir=models_dir, device="cpu")).family


def test_cards_say_what_is_loaded_and_what_is_absent(adapted: LoadedModel, files: dict[str, Path]) -> None:
    star, moon, lost = adapted.card.adapters
    assert star == AdapterCard("star", digest(files["star"]), "CC0-1.0")
    assert moon == AdapterCard("moon", digest(files["moon"]), "CC0-1.0")
    assert star.revision != moon.revision and len(star.revision) == 16
    reason = "adapter 'lost': lost.safetensors was not found; check the path in the profile"
    assert lost == AdapterCard("lost", "", "unknown", absent_reason=reason)


def test_another_adapter_does_not_change_the_models_revision(adapted: LoadedModel, tiny: LoadedModel) -> None:
    assert adapted.card.revision == tiny.card.revision
    assert tiny.card.adapters == ()


def wrong_shape(tensors: Tensors) -> Tensors:
    """A file of a model with other layers."""
    return tensors | {DOWN: torch.zeros(2, 9)}


def wrong_rank(tensors: Tensors) -> Tensors:
    """Halves that do not go together."""
    return tensors | {UP: torch.zeros(32, 3)}


def half(tensors: Tensors) -> Tensors:
    """A half is missing."""
    return {key: tensor for key, tensor in tensors.items() if key != UP}


def unknown_layer(tensors: Tensors) -> Tensors:
    """A layer that the model lacks, among others that it has."""
    return tensors | {f"unet.nowhere.to_q.lora_{side}.weight": torch.zeros(2, 2) for side in "AB"}


def unknown_part(tensors: Tensors) -> Tensors:
    """All of it for a part that the model lacks."""
    return {key.replace("unet.", "transformer."): tensor for key, tensor in tensors.items()}


def other_prefix(tensors: Tensors) -> Tensors:
    """As PEFT names what it saves without diffusers."""
    return {key.replace("unet.", "base_model.model."): tensor for key, tensor in tensors.items()}


def whole_weight(tensors: Tensors) -> Tensors:
    """More than a change of low rank."""
    return tensors | {f"unet.{QUERY}.weight": torch.zeros(32, 32)}


def dora(tensors: Tensors) -> Tensors:
    """A scale of each row besides."""
    return tensors | {f"{KOHYA}.dora_scale": torch.ones(32, 1)}


def unknown_kohya_layer(tensors: Tensors) -> Tensors:
    """A layer that the model lacks."""
    name = "lora_unet_down_blocks_7_attentions_0_transformer_blocks_0_attn1_to_q"
    return tensors | {f"{name}.lora_{half}.weight": torch.zeros(2, 2) for half in ("down", "up")}


def unknown_kohya_kind(tensors: Tensors) -> Tensors:
    """Not a change of low rank."""
    return {f"{KOHYA}.hada_w1_a": torch.zeros(2, 2)}


@pytest.mark.parametrize(
    ("layout", "spoil", "problem"),
    [
        (peft_tensors, wrong_shape, f"tensors have no place in it: {DOWN} (2, 9) for (2, 32)"),
        (peft_tensors, wrong_rank, f"tensors have no place in it: {UP} (32, 3) for (32, 2)"),
        (peft_tensors, half, f"tensors have no place in it: {DOWN} without its other half"),
        (peft_tensors, unknown_layer, "unet.nowhere.to_q.lora_A.weight, unet.nowhere.to_q.lora_B.weight"),
        (peft_tensors, unknown_part, "in it: transformer.down_blocks.1.attentions.0.proj_in.lora_A.weight"),
        (peft_tensors, other_prefix, "in it: base_model.model.down_blocks.1.attentions.0.proj_in.lora_A.weight"),
        (peft_tensors, whole_weight, f"tensors have no place in it: unet.{QUERY}.weight"),
        (kohya_tensors, dora, f"has scales that are not taken: {KOHYA}.dora_scale"),
        (kohya_tensors, unknown_kohya_layer, "unet.down_blocks.7.attentions.0.transformer_blocks.0.attn1.to_q"),
        (kohya_tensors, unknown_kohya_kind, f"diffusers reads for a StableDiffusionPipeline: {KOHYA}.hada_w1_a"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_does_not_fit_is_absent_and_its_tensors_are_named(
    family: Family,
    changes: dict[str, Changes],
    tmp_path: Path,
    layout: Callable[[Changes], Tensors],
    spoil: Callable[[Tensors], Tensors],
    problem: str,
) -> None:
    file = save(spoil(layout(changes["star"])), tmp_path / "bad.safetensors")
    card = _absent(family, Adapter(id="bad", source=str(file)))
    assert card.absent_reason.startswith("adapter 'bad': bad.safetensors ")
    assert problem in card.absent_reason
    assert len(card.absent_reason) < 1000


def test_a_broken_file_is_absent(family: Family, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"broken")
    card = _absent(family, Adapter(id="bad", source=str(tmp_path)))
    assert card.absent_reason == "adapter 'bad': bad.safetensors is broken or no safetensors file; replace it"


def test_a_file_of_nothing_is_absent(family: Family, tmp_path: Path) -> None:
    card = _absent(family, Adapter(id="bad", source=str(save({}, tmp_path / "bad.safetensors"))))
    assert card.absent_reason == "adapter 'bad': bad.safetensors holds no tensors; replace it"


def test_a_folder_must_tell_which_file(family: Family, files: dict[str, Path]) -> None:
    folder = str(files["star"].parent)
    assert "moon.safetensors, star.safetensors found" in _absent(family, Adapter(id="bad", source=folder)).absent_reason
    assert "none found" in _absent(family, Adapter(id="bad", source=folder, file="sun.safetensors")).absent_reason


def test_a_hub_id_that_cannot_be_fetched_says_what_to_do(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    card = _absent(family, Adapter(id="bad", source="likeness-tests/absent"))
    assert "hub id likeness-tests/absent" in card.absent_reason
    assert "hf download likeness-tests/absent" in card.absent_reason


def test_a_file_in_a_folder_is_found_by_its_name(models_dir: Path, files: dict[str, Path]) -> None:
    adapter = Adapter(id="mine", source=str(files["star"].parent), file="moon.safetensors")
    loaded = load_model(with_adapters(adapter), Settings(models_dir=models_dir, device="cpu"))
    assert loaded.card.adapters == (AdapterCard("mine", digest(files["moon"]), "unknown"),)


def test_what_fails_with_half_of_it_loaded_leaves_nothing_behind(
    models_dir: Path, files: dict[str, Path], adapted: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    moon = Adapter(id="moon", source=str(files["moon"]))
    own = load_model(with_adapters(moon), Settings(models_dir=models_dir, device="cpu")).family
    star = Adapter(id="star", source=str(files["star"]))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"secrets of {files['star']}")

    with monkeypatch.context() as patch:
        # After the UNet's half of the file.
        patch.setattr(StableDiffusionPipeline, "load_lora_into_text_encoder", fail)
        card = _absent(own, star)
    assert card.absent_reason == "adapter 'star': it could not be loaded; the server's log says why"
    (card,) = load_adapters(with_adapters(star), own.adapters)
    assert card == AdapterCard("star", digest(files["star"]), "unknown")
    for name in ("star", "moon"):
        record = replace(RECORD, adapter=name, adapter_scale=0.7)
        assert_same(alone(own, record), alone(adapted.family, record), tolerance=0.0)


def test_a_pipeline_without_a_loader_takes_none(files: dict[str, Path]) -> None:
    with pytest.raises(UnavailableError, match="adapter 'star': a PixArtSigmaPipeline takes no adapters"):
        Adapters(tiny_families.pixart()).load("star", files["star"])


def test_ids_come_once(files: dict[str, Path]) -> None:
    twice = [Adapter(id="star", source=str(files[name])) for name in ("star", "moon")]
    with pytest.raises(ValueError, match="adapters: each id of a model's adapters comes once"):
        with_adapters(*twice)
    with pytest.raises(ValueError, match="at least 1 character"):
        Adapter(id="", source="x")


def _absent(family: Family, adapter: Adapter) -> AdapterCard:
    """Card of an adapter that does not load. The model's pictures are what they were, with and without others."""
    before = alone(family, RECORD)
    (card,) = load_adapters(with_adapters(adapter), family.adapters)
    assert (card.id, card.revision) == (adapter.id, "") and card.absent_reason
    assert not re.search(r"(?:^|\s)/\w", card.absent_reason)
    assert_same(alone(family, RECORD), before, tolerance=0.0)
    return card
