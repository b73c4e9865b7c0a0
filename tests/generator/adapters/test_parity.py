"""Pictures made with an adapter against the stock pipeline with the same one, and against merged weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from services.common.profile import Adapter, GeneratorModel
from services.common.settings import Settings
from services.generator import schedulers
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.adapters.conftest import Stock, with_adapters
from tests.generator.adapters.lora_files import ALPHA, RANK, Changes, kohya_tensors, merge, peft_tensors, random_changes
from tests.generator.adapters.lora_files import save as save_lora
from tests.generator.families import running, tiny_families
from tests.generator.families.running import alone, apart, assert_same, stock, together

RECORD = replace(running.RECORD, scheduler="ddim", negative_prompt="a green cow")
FACTOR = {"star": ALPHA / RANK, "moon": 1.0}
"""What a layout multiplies changes by."""


@pytest.mark.parametrize("scale", [1.0, 0.6, -1.5])
@pytest.mark.parametrize("name", ["star", "moon"])
def test_each_step_is_the_stock_pipelines_with_the_adapter(
    adapted: LoadedModel, stock_pipeline: Stock, files: dict[str, Path], name: str, scale: float
) -> None:
    pipeline = stock_pipeline()
    without = stock(pipeline, RECORD)
    pipeline.load_lora_weights(files[name], adapter_name="theirs")
    pipeline.set_adapters("theirs", scale)
    theirs = stock(pipeline, RECORD)
    assert_same(alone(adapted.family, replace(RECORD, adapter=name, adapter_scale=scale)), theirs)
    assert apart(theirs, without) > 100


@pytest.mark.parametrize("name", ["star", "moon"])
def test_an_adapter_is_its_changes_added_to_the_weights(
    adapted: LoadedModel, stock_pipeline: Stock, changes: dict[str, Changes], name: str
) -> None:
    merged = merge(stock_pipeline(), changes[name], 0.6 * FACTOR[name])
    ours = alone(adapted.family, replace(RECORD, adapter=name, adapter_scale=0.6))
    assert_same(ours, stock(merged, RECORD), tolerance=1e-3)


def test_what_peft_has_trained_loads_as_it_was_trained(models_dir: Path, stock_pipeline: Stock, tmp_path: Path) -> None:
    """Its alpha is in the file's metadata alone."""
    pipeline = stock_pipeline()
    torch.manual_seed(6)
    settings = {"r": RANK, "lora_alpha": 5 * RANK, "init_lora_weights": False}
    pipeline.unet.add_adapter(LoraConfig(target_modules=["to_q", "to_v", "conv1"], **settings))
    pipeline.text_encoder.add_adapter(LoraConfig(target_modules=["q_proj", "fc1"], **settings))
    pipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(pipeline.unet),
        text_encoder_lora_layers=get_peft_model_state_dict(pipeline.text_encoder, adapter_name="default"),
        unet_lora_adapter_metadata=_metadata(pipeline.unet),
        text_encoder_lora_adapter_metadata=_metadata(pipeline.text_encoder),
    )
    model = with_adapters(Adapter(id="it", source=str(tmp_path)))
    family = load_model(model, Settings(models_dir=models_dir, device="cpu")).family
    theirs = stock(pipeline, RECORD)
    assert_same(alone(family, replace(RECORD, adapter="it", adapter_scale=1.0)), theirs)
    assert apart(theirs, alone(family, RECORD)) > 100


def test_scale_0_is_no_adapter(adapted: LoadedModel, tiny: LoadedModel) -> None:
    nothing = replace(RECORD, adapter="star", adapter_scale=0.0)
    assert adapted.family.group(nothing) == adapted.family.group(RECORD)
    with_star = replace(RECORD, adapter="star", adapter_scale=1.0)
    # Around one with the adapter, which must leave nothing behind.
    before, changed, after = (alone(adapted.family, record) for record in (nothing, with_star, RECORD))
    theirs = alone(tiny.family, RECORD)
    assert_same(before, theirs, tolerance=0.0)
    assert_same(after, theirs, tolerance=0.0)
    assert apart(changed, theirs) > 100


def test_mates_with_the_same_adapter_change_nothing(
    adapted: LoadedModel, stock_pipeline: Stock, files: dict[str, Path]
) -> None:
    pipeline = stock_pipeline()
    pipeline.load_lora_weights(files["star"])
    records = [replace(RECORD, seed=seed, steps=3 + seed, adapter="star", adapter_scale=1.0) for seed in range(3)]
    for ours, record in zip(together(adapted.family, records, gap=1), records, strict=True):
        assert_same(ours, stock(pipeline, record))


def test_pictures_of_other_adapters_and_scales_cannot_share_a_call(adapted: LoadedModel) -> None:
    records = [replace(RECORD, adapter=name, adapter_scale=scale) for name in ("star", "moon") for scale in (1.0, 0.5)]
    assert len({adapted.family.group(record) for record in [RECORD, *records]}) == 5


def test_prompts_are_encoded_again_only_for_an_adapter_of_the_text_encoder(adapted: LoadedModel) -> None:
    calls = []
    record = replace(RECORD, prompt="a prompt of its own", negative_prompt="")
    handle = adapted.family.pipeline.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    counts, encoded = [], []
    for name, scale in [("", 0.0), ("moon", 1.0), ("star", 1.0), ("star", 1.0), ("star", 0.5), ("", 0.0)]:
        (one,) = adapted.family.begin([replace(record, adapter=name, adapter_scale=scale)])
        encoded.append(one.conditioning["prompt_embeds"])
        counts.append(len(calls))
    handle.remove()
    assert counts == [1, 1, 2, 2, 3, 3]
    assert torch.equal(encoded[0], encoded[1]) and torch.equal(encoded[0], encoded[5])
    assert not encoded[0].allclose(encoded[2]) and not encoded[2].allclose(encoded[4])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("build", "tensors", "parts"),
    [
        (tiny_families.sdxl, kohya_tensors, ("unet", "text_encoder", "text_encoder_2")),
        (tiny_families.sdxl, peft_tensors, ("unet", "text_encoder_2")),
        (tiny_families.sd3, peft_tensors, ("transformer", "text_encoder")),
        (tiny_families.flux, peft_tensors, ("transformer", "text_encoder")),
    ],
    ids=["sdxl-kohya", "sdxl-peft", "sd3-peft", "flux-peft"],
)
def test_families(
    tmp_path: Path,
    build: Callable[[Path], Any],
    tensors: Callable[[Changes], dict[str, torch.Tensor]],
    parts: tuple[str, ...],
    dtype: torch.dtype,
) -> None:
    pipeline = build(tmp_path)
    pipeline.save_pretrained(tmp_path / "model")
    # Rounded already, so that a file of half precision says the same.
    changes = {key: (down.half().float(), up.half().float()) for key, (down, up) in _some(pipeline, parts).items()}
    adapter = Adapter(id="it", source=str(save_lora(tensors(changes), tmp_path / "it.safetensors", dtype)))
    model = with_adapters(adapter, model=GeneratorModel(id="mine", source=str(tmp_path / "model")))
    family = load_model(model, Settings(device="cpu")).family
    record = replace(running.RECORD, scheduler=schedulers.names_for(pipeline.scheduler)[0])
    without = alone(family, record)
    ours = alone(family, replace(record, adapter="it", adapter_scale=0.8))
    merged = merge(pipeline, changes, 0.8 * (ALPHA / RANK if tensors is kohya_tensors else 1.0))
    assert_same(ours, stock(merged, record), tolerance=1e-3)
    assert apart(ours, without) > 100


def _metadata(model: Any) -> dict[str, Any]:
    settings = model.peft_config["default"].to_dict()
    return {name: list(value) if isinstance(value, set) else value for name, value in settings.items()}


def _some(pipeline: Any, parts: tuple[str, ...]) -> Changes:
    return random_changes(pipeline, 5, *parts)
