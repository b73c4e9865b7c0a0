"""Drawings: the same bytes for the same scene and seed, and every attribute visible."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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
    assert together.shape == (40, 128, 128, 3)
    assert np.array_equal(together[::-1], render(some[::-1], seed=11))
    assert np.array_equal(together[7], render([some[7]], seed=11)[0])
    assert np.array_equal(together[7], render_one(some[7], 11))


def test_no_scenes_give_no_pictures() -> None:
    assert render([], seed=1).shape == (0, 128, 128, 3)


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


@pytest.mark.parametrize("style", v.STYLE_NAMES)
def test_every_kind_is_drawn_and_unlike_the_others(style: str) -> None:
    pictures = {
        name: render_one(Scene((SceneObject(name, "small"),), "center", "paper", style, "high"), 0).astype(int)
        for name in v.KIND_NAMES
    }
    for name, picture in pictures.items():
        others = [np.abs(picture - other).mean() for key, other in pictures.items() if key != name]
        assert min(others) > 4, name


def test_the_pixel_style_is_made_of_blocks(scenes: list[Scene]) -> None:
    for scene in scenes[:40]:
        blocks = render_one(replace(scene, style="pixel", quality="high"), 1).reshape(32, 4, 32, 4, 3)
        assert (blocks == blocks[:, :1, :, :1]).all()


SHAPES = {"circle": "red", "square": "green", "triangle": "blue"}


def _boxes(layout: str, sizes: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom edges of the shapes in the order of SHAPES, as many as there are sizes."""
    items = tuple(SceneObject(kind, size, tint) for (kind, tint), size in zip(SHAPES.items(), sizes, strict=False))
    picture = render_one(Scene(items, layout, "paper", "plain", "high"), 0).astype(int)
    found = []
    for channel in range(len(items)):
        others = np.delete(picture, channel, axis=-1).max(-1)
        rows, columns = np.nonzero(picture[..., channel] - others > 25)
        found.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return found


@pytest.mark.parametrize("sizes", list(itertools.product(v.SIZE_NAMES, repeat=3)))
def test_three_objects_stand_in_order_and_apart(sizes: tuple[str, ...]) -> None:
    across = _boxes("left_of", sizes)
    down = _boxes("above", sizes)
    for (first, second), axis in itertools.product(((0, 1), (1, 2)), (0, 1)):
        boxes = (across, down)[axis]
        assert boxes[first][axis + 2] <= boxes[second][axis]
    for boxes in (across, down):
        for (left, _, right, _), size in zip(boxes, sizes, strict=True):
            side = {"small": 36, "large": 42}[size]
            assert 0.85 * side <= right - left <= side


def test_objects_are_smaller_where_there_are_more() -> None:
    widths = {
        (count, size): right - left
        for count, layout in ((1, "center"), (2, "left_of"), (3, "left_of"))
        for size in v.SIZE_NAMES
        for left, _, right, _ in _boxes(layout, [size] * count)[:1]
    }
    for size in v.SIZE_NAMES:
        assert widths[1, size] > widths[2, size] > widths[3, size]
    for count, factor in ((1, 1.3), (2, 1.3), (3, 1.1)):
        assert widths[count, "large"] > factor * widths[count, "small"]
