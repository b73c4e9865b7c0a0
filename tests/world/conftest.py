"""Shared means of the world's tests."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from world.scene import Scene, sample_scene

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture
def scenes() -> list[Scene]:
    """300 random scenes, held-out ones among them."""
    rng = random.Random(5)
    return [sample_scene(rng, "any") for _ in range(300)]


@pytest.fixture(scope="session")
def models() -> Path:
    """The shipped weights; tests that need them are skipped while they are not trained."""
    if not (MODELS / "captioner-embedded" / "model.safetensors").is_file():
        pytest.skip("models/ is not trained: run make models")
    return MODELS
