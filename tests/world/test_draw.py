"""Drawings: the same bytes for the same scene and seed, and every attribute visible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from world import vocabulary as v
from world.draw import render, render_one
from world.scene import Scene, SceneObject

pytestmark = pytest.mark.usefixtures("font")


def test_a_drawing_does_not_depend_on_its_company(scenes: list[Scene]) -> None:
    some = scenes[:40]
    together = render(some, seed=11)
    assert together.dtype == np.uint8
    assert together.shape == (40, 64, 64, 3)
    assert np.array_equal(together[::-1], render(some[::-1], seed=11))
    assert np.array_equal(together[7], render([some[7]], seed=11)[0])
    assert np.array_equal(together[7], render_one(some[7], 11))


def test_no_scenes_give_no_pictures() -> None:
    assert render([], seed=1).shape == (0, 64, 64, 3)


def test_seeds_change_the_drawing() -> None:
    scene = Scene((SceneObject("cat", "large"),), "center", "night", "plain", "high")
    assert len({render_one(scene, seed).tobytes() for seed in range(12)}) > 1


def _difference(first: Scene, second: Scene) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(render_one(first, 3).astype(int) - render_one(second, 3).astype(int)).mean())


BASE = Scene((SceneObject("car", "large", "red"),), "center", "sea", "plain", "high")


@pytest.mark.parametrize("style", [name for name in v.STYLE_NAMES if name != "plain"])
def test_every_style_is_visible(style: str) -> None:
    assert _difference(BASE, replace(BASE, style=style)) > 5


@pytest.mark.parametrize("background", [name for name in v.BACKGROUND_NAMES if name != "sea"])
def test_every_background_is_visible(background: str) -> None:
    assert _difference(BASE, replace(BASE, background=background)) > 10


def test_low_quality_is_fainter_and_softer(font: Path) -> None:
    del font
    low = replace(BASE, quality="low")
    assert render_one(low, 3).std() < 0.75 * render_one(BASE, 3).std()


def test_every_kind_is_drawn_and_unlike_the_others() -> None:
    pictures = {
        name: render_one(Scene((SceneObject(name, "large"),), "center", "paper", "plain", "high"), 0)
        for name in v.KIND_NAMES
    }
    for name, picture in pictures.items():
        others = [np.abs(picture.astype(int) - other).mean() for key, other in pictures.items() if key != name]
        assert min(others) > 3, name
