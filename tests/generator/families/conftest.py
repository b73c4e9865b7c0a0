"""Each family over its tiny stock pipeline, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.generator.families.flux import Flux
from services.generator.families.pixart import PixArt
from services.generator.families.sd3 import StableDiffusion3
from services.generator.families.sdxl import StableDiffusionXL
from tests.generator.families import tiny_families


def _folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("tokenizers")


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
