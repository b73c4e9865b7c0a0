"""The tiny pipeline with two adapters and one that is absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from services.common.profile import Adapter, GeneratorModel
from services.common.settings import Settings
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.adapters.lora_files import Changes, kohya_tensors, peft_tensors, random_changes, save
from tests.generator.tiny import TINY

Stock = Callable[[], Any]


@pytest.fixture(scope="session")
def stock_pipeline(models_dir: Path) -> Stock:
    """Makes fresh stock pipelines with the tiny model's weights."""

    def load() -> Any:
        pipeline = StableDiffusionPipeline.from_pretrained(models_dir / "tiny", dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return load


@pytest.fixture(scope="session")
def changes(stock_pipeline: Stock) -> dict[str, Changes]:
    """What the adapters change, by their ids."""
    pipeline = stock_pipeline()
    return {"star": random_changes(pipeline, 1, "unet", "text_encoder"), "moon": random_changes(pipeline, 2, "unet")}


@pytest.fixture(scope="session")
def files(changes: dict[str, Changes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the adapters: a star in kohya's layout that changes the text encoder too, and a moon in PEFT's."""
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "star": save(kohya_tensors(changes["star"]), folder / "star.safetensors"),
        "moon": save(peft_tensors(changes["moon"]), folder / "moon.safetensors"),
    }


@pytest.fixture(scope="session")
def adapted(models_dir: Path, files: dict[str, Path]) -> LoadedModel:
    """The tiny model with the adapters star and moon, and one whose file is not there."""
    adapters = [Adapter(id=name, source=str(file), license="CC0-1.0") for name, file in files.items()]
    adapters.append(Adapter(id="lost", source=str(models_dir / "lost.safetensors")))
    return load_model(with_adapters(*adapters), Settings(models_dir=models_dir, device="cpu"))


def with_adapters(*adapters: Adapter, model: GeneratorModel = TINY) -> GeneratorModel:
    """The model with these adapters."""
    return GeneratorModel(**{**model.model_dump(), "adapters": adapters})
