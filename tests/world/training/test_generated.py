"""How far pictures are from drawings, as the judge sees them: other drawings are near, flat pictures are not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from world.draw import render_one
from world.scene import sample_scene
from world.training import generated
from world.training.judge import Judge, features, load


def _drawings(count: int, seed: int) -> torch.Tensor:
    rng = random.Random(seed)
    pictures = [torch.from_numpy(render_one(sample_scene(rng), index)) for index in range(count)]
    return torch.stack(pictures).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def critic(models: Path) -> Judge:
    """The shipped one: with random weights all pictures look much the same."""
    return load(models / "judge")


@pytest.mark.usefixtures("font")
def test_drawings_are_near_and_flat_pictures_far(critic: Judge) -> None:
    others, drawn = _drawings(80, 1), _drawings(40, 2)
    flat = drawn.mean((2, 3), keepdim=True).expand_as(drawn)
    found = generated._distances(critic, flat, drawn, others)
    assert set(found) == {"kernel_distance", "kernel_distance_error", "kernel_distance_of_drawings"}
    assert found["kernel_distance"] > 5 * found["kernel_distance_error"] > 0
    assert abs(found["kernel_distance_of_drawings"]) < found["kernel_distance"] / 10


@pytest.mark.usefixtures("font")
def test_features_are_what_the_judge_reads(critic: Judge) -> None:
    drawn = _drawings(5, 3)
    hidden = features(critic, drawn, batch=2)
    assert hidden.shape == (5, 256) and not hidden.requires_grad
    with torch.no_grad():
        assert torch.allclose(critic.heads["style"](hidden), critic(drawn)["style"], atol=1e-5)
