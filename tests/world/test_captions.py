"""Captions: the canonical form is exact and can be read back, natural forms vary."""

from __future__ import annotations

import random

import pytest

from world.captions import canonical, natural, parse
from world.scene import Scene, SceneObject


def test_the_canonical_form_of_a_pair() -> None:
    objects = (SceneObject("car", "large", "red"), SceneObject("cat", "small"))
    scene = Scene(objects, "left_of", "meadow", "pixel", "high")
    assert canonical(scene) == "a large red car left of a small cat on a meadow, pixel art, high quality"


def test_the_canonical_form_of_a_single_object() -> None:
    scene = Scene((SceneObject("fish", "small", "blue"),), "center", "sea", "watercolor", "high")
    assert canonical(scene) == "a small blue fish in the center over the sea, watercolor painting, high quality"


def test_canonical_captions_are_read_back(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert parse(canonical(scene)) == scene


def test_reading_forgives_spaces_and_case() -> None:
    text = "A small  cat in the center on a meadow , Pixel Art ,high quality "
    scene = parse(text)
    assert scene is not None
    assert scene.objects == (SceneObject("cat", "small"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "red car and cat, meadow",
        "a small cat on a meadow, pixel art, high quality",
        "a small dragon in the center on a meadow, pixel art, high quality",
        "a small cat in the center on a meadow, pixel art",
    ],
)
def test_other_texts_are_not_canonical(text: str) -> None:
    assert parse(text) is None


def test_natural_captions_vary_and_repeat_with_the_seed(scenes: list[Scene]) -> None:
    wordings = [natural(scenes[0], random.Random(seed)) for seed in range(60)]
    assert wordings == [natural(scenes[0], random.Random(seed)) for seed in range(60)]
    assert len(set(wordings)) > 20


def test_quality_is_named_in_some_natural_captions_only(scenes: list[Scene]) -> None:
    rng = random.Random(7)
    words = ("quality", "detailed", "crisp", "blurry", "faded")
    named = sum(any(word in natural(scene, rng) for word in words) for scene in scenes)
    assert 0.25 < named / len(scenes) < 0.55
