"""Each family over its tiny stock pipeline, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.settings import Settings
from services.generator.families.base import Family
from services.generator.families.flux import Flux
from services.generator.families.pixart import PixArt
from services.generator.families.sd3 import StableDiffusion3
from services.generator.families.sdxl import StableDiffusionXL
from services.generator.pipelines import LoadedModel, load_model
from tests.generator.families import tiny_families
from tests.generator.tiny import TINY, save_tiny_pipeline


def _folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("tokenizers")


def _four_channels(factory: pytest.TempPathFactory) -> Family:
    models_dir = factory.mktemp("models")
    save_tiny_pipeline(models_dir / TINY.source, latent_channels=4)
    return load_model(TINY, Settings(models_dir=models_dir, device="cpu")).family


@pytest.fixture(scope="session")
def tiny_family(tiny: LoadedModel) -> Family:
    """Stable Diffusion as the embedded model is built, with eight latent channels."""
    return tiny.family


@pytest.fixture(scope="session")
def four_channels(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Stable Diffusion with four latent channels: of no other do stock pipelines take masks, or latents as pictures."""
    return _four_channels(tmp_path_factory)


@pytest.fixture
def own_four_channels(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """One that a test may change."""
    return _four_channels(tmp_path_factory)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionXL:
    """Stable Diffusion XL."""
    return StableDiffusionXL(tiny_families.sdxl(_folder(tmp_path_factory)))


@pytest.fixture(scope="session")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusion3:
    """Stable Diffusion 3 with its three text encoders."""
    return StableDiffusion3(tiny_families.sd3(_folder(tmp_path_factory)))


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Flux:
    """FLUX that is told the guidance scale."""
    return Flux(tiny_families.flux(_folder(tmp_path_factory)))


@pytest.fixture(scope="session")
def schnell(tmp_path_factory: pytest.TempPathFactory) -> Flux:
    """FLUX that knows no guidance."""
    return Flux(tiny_families.flux(_folder(tmp_path_factory), is_dev=False))


@pytest.fixture(scope="session")
def sigma() -> PixArt:
    """PixArt-Sigma."""
    return PixArt(tiny_families.pixart())


@pytest.fixture(scope="session")
def alpha() -> PixArt:
    """PixArt-Alpha's large model."""
    return PixArt(tiny_families.pixart(is_alpha=True))
