"""Loading: precision, revision, and what a missing or broken model says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from services.common.errors import Reason, UnavailableError
from services.common.profile import GeneratorModel, weights_digest
from services.common.settings import Settings
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.tiny import TINY


def test_half_precision_files_are_widened_on_a_cpu(tiny: LoadedModel) -> None:
    parts = (tiny.family.pipeline.unet, tiny.family.pipeline.vae, tiny.family.pipeline.text_encoder)
    assert {part.dtype for part in parts} == {torch.float32}


def test_the_card_says_what_was_loaded_and_what_it_accepts(tiny: LoadedModel, models_dir: Path) -> None:
    card = tiny.card
    assert card.revision == weights_digest(models_dir / "tiny")
    assert (card.source, card.embedded, card.limits.token_limit) == ("tiny", True, 30)


def test_a_missing_embedded_model_says_which_folder_and_what_to_do(tmp_path: Path) -> None:
    message = _refusal(TINY, tmp_path)
    assert "models/tiny" in message and "make models" in message and str(tmp_path) not in message


def test_a_broken_folder_is_reported_without_its_path(models_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(models_dir / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"broken")
    message = _refusal(TINY, tmp_path)
    assert "models/tiny" in message and str(tmp_path) not in message


def test_a_local_folder_that_is_no_embedded_model_is_loaded_by_its_path(models_dir: Path, tmp_path: Path) -> None:
    model = GeneratorModel(id="mine", source=str(models_dir / "tiny"))
    card = load_model(model, Settings(models_dir=tmp_path, device="cpu")).card
    assert (card.id, card.source, card.embedded) == ("mine", "tiny", False)
    message = _refusal(GeneratorModel(id="mine", source=str(tmp_path / "absent")), tmp_path)
    assert "folder absent" in message and str(tmp_path) not in message


def test_a_hub_model_that_cannot_be_fetched_names_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    message = _refusal(GeneratorModel(id="big", source="likeness-tests/absent"), tmp_path)
    assert "hub id likeness-tests/absent" in message and "hf download likeness-tests/absent" in message


def test_a_pipeline_of_no_family_is_unavailable(tmp_path: Path) -> None:
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "tiny")
    message = _refusal(TINY, tmp_path)
    assert message.startswith("generator model 'tiny': no model family takes a DDPMPipeline")
    assert "StableDiffusionPipeline" in message


def _refusal(model: GeneratorModel, models_dir: Path) -> str:
    with pytest.raises(UnavailableError) as refused:
        load_model(model, Settings(models_dir=models_dir, device="cpu"))
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    assert not re.search(r"(?:^|\s)/\w", refused.value.message)
    return refused.value.message
