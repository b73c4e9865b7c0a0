"""Captions: the canonical form is exact and can be read back, natural forms vary."""

from __future__ import annotations

import random

import pytest

from world.captions import LONGEST, canonical, length, natural, parse
from world.scene import Scene, SceneObject, sample_scene


def test_the_canonical_form_of_a_pair() -> None:
    objects = (SceneObject("car", "large", "red"), SceneObject("cat", "small"))
    scene = Scene(objects, "left_of", "meadow", "pixel", "high")
    assert canonical(scene) == "a large red car left of a small cat on a meadow, pixel art, high quality"


def test_the_canonical_form_of_a_single_object() -> None:
    scene = Scene((SceneObject("fish", "small", "blue"),), "center", "sea", "watercolor", "high")
    assert canonical(scene) == "a small blue fish in the center over the sea, watercolor painting, high quality"


TRIPLE = Scene(
    (SceneObject("car", "large", "red"), SceneObject("cat", "small"), SceneObject("moon", "small")),
    "left_of",
    "meadow",
    "pixel",
    "high",
)


def test_the_canonical_form_of_three_objects() -> None:
    caption = "a large red car left of a small cat left of a small moon on a meadow, pixel art, high quality"
    assert canonical(TRIPLE) == caption
    assert parse(caption) == TRIPLE


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
        "a small cat left of a small dog above a small owl on a meadow, pixel art, high quality",
        "a small cat above a small dog above a small owl above a small key on a meadow, pixel art, high quality",
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


def test_three_objects_are_chained_either_way_or_listed() -> None:
    rng = random.Random(4)
    wordings = [natural(TRIPLE, rng) for _ in range(400)]
    relations = ("left of", "right of")
    chained = [text for text in wordings if any(relation in text for relation in relations)]
    assert 0.5 < len(chained) / len(wordings) < 0.95
    for text in chained:
        things = ("car" if "car" in text else "automobile", "cat" if "cat" in text else "kitten", "moon")
        places = [text.index(thing) for thing in things]
        assert places == sorted(places, reverse="right of" in text), text
        assert sum(text.count(relation) for relation in relations) == 2, text
    assert any("right of" in text for text in chained)
    listed = [text for text in wordings if text not in chained]
    assert all(text.count(" and ") == 1 for text in listed)
    assert any(text.startswith("a ") and ", a " in text for text in listed)


@pytest.mark.parametrize("style", ["plain", "neon", "pixel", "sketch"])
def test_no_caption_is_longer_than_the_models_read(style: str) -> None:
    wordy = (SceneObject("pizza", "small"), SceneObject("dancer", "small"), SceneObject("icecream", "small"))
    scene = Scene(wordy, "left_of", "night", style, "high")
    rng = random.Random(6)
    lengths = [length(natural(scene, rng)) for _ in range(3000)]
    assert max(lengths) <= LONGEST
    assert max(lengths) > LONGEST - 3  # else this test is too easy
    for _ in range(3000):
        assert length(canonical(sample_scene(rng, "any"))) <= LONGEST
