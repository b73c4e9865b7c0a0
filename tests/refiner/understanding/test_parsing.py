from __future__ import annotations

import random

import pytest

from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.scene_prompt import PromptObject, ScenePrompt
from tests.refiner.helpers import scene_prompt
from world import captions, scene

SAMPLES = 400


def test_canonical_captions_round_trip(parser: PromptParser) -> None:
    chance = random.Random(1)
    for _ in range(SAMPLES):
        drawn = scene.sample_scene(chance, "any")
        parsed = parser.parse(captions.canonical(drawn))
        assert parsed.scene == scene_prompt(drawn)
        assert parsed.complete and parsed.canonical
        assert parser.writer.write(parsed.scene) == parsed.text


def test_natural_captions_are_understood_whole_and_never_wrong(parser: PromptParser) -> None:
    chance = random.Random(2)
    for _ in range(SAMPLES):
        drawn = scene.sample_scene(chance, "any")
        text = captions.natural(drawn, chance)
        parsed, truth = parser.parse(text), scene_prompt(drawn)
        assert parsed.complete, (text, parsed.rest)
        for name in ("position", "relation", "background", "style", "quality"):
            assert getattr(parsed.scene, name) in (None, getattr(truth, name)), text
        expected = {item.kind: item for item in truth.objects}
        for item in parsed.scene.objects:
            assert item.size in (None, expected[item.kind].size), text
            assert item.color in (None, expected[item.kind].color), text
        if parsed.scene.relation:
            assert [item.kind for item in parsed.scene.objects] == [item.kind for item in truth.objects], text


def test_a_partial_prompt_says_only_what_it_says(parser: PromptParser) -> None:
    parsed = parser.parse("A Violet Parasol, in Winter")
    assert parsed.scene == ScenePrompt((PromptObject("umbrella", None, "purple"),), background="snow")
    assert parsed.complete and not parsed.canonical


def test_two_sides_say_a_relation(parser: PromptParser) -> None:
    parsed = parser.parse("a cat on the right and a car on the left")
    assert [item.kind for item in parsed.scene.objects] == ["car", "cat"]
    assert parsed.scene.relation == "left_of"
    assert parsed.complete


@pytest.mark.parametrize(
    ("text", "kinds", "relation"),
    [
        ("a car left of a cat left of a moon", ["car", "cat", "moon"], "left_of"),
        ("a moon right of a kitten to the right of an automobile", ["car", "cat", "moon"], "left_of"),
        ("a moon on top of a cat above a car", ["moon", "cat", "car"], "above"),
        ("a car beneath a cat under a moon", ["moon", "cat", "car"], "above"),
        ("a moon on the right, a car on the left and a cat in the middle", ["car", "cat", "moon"], "left_of"),
        ("a car at the bottom, a cat in the center, a moon at the top", ["moon", "cat", "car"], "above"),
        ("a car, a cat and a moon", ["car", "cat", "moon"], None),
        ("car, cat and moon, meadow", ["car", "cat", "moon"], None),
        # More than any model draws are read all the same.
        ("a car left of a cat left of a moon left of a dog", ["car", "cat", "moon", "dog"], "left_of"),
        ("a car, a cat, a moon, a dog and a fish", ["car", "cat", "moon", "dog", "fish"], None),
    ],
)
def test_rows_and_lists_of_any_length(parser: PromptParser, text: str, kinds: list[str], relation: str | None) -> None:
    parsed = parser.parse(text)
    assert [item.kind for item in parsed.scene.objects] == kinds
    assert parsed.scene.relation == relation and parsed.complete
    names = [parsed.text[start:end] for start, end in parsed.object_spans]
    assert [parser.parse(name).scene.objects[0].kind for name in names] == kinds
    assert parser.parse(parser.writer.write(parsed.scene)).scene == parsed.scene


@pytest.mark.parametrize(
    "text",
    [
        "a car left of a cat above a moon",
        "a car left of a cat right of a moon",
        "a car left of a cat and left of a moon",
        "a car left of a cat and a moon",
        "a car on the left, a cat on the left and a moon on the right",
        "a car on the left, a cat at the top and a moon on the right",
    ],
)
def test_what_is_no_row_keeps_its_objects_and_its_words(parser: PromptParser, text: str) -> None:
    parsed = parser.parse(text)
    assert [item.kind for item in parsed.scene.objects] == ["car", "cat", "moon"]
    assert parsed.scene.relation is None and parsed.rest


def test_each_wording_of_a_relation_has_its_place(parser: PromptParser) -> None:
    parsed = parser.parse("a moon right of a cat to the right of a car")
    words = [parsed.text[place.start : place.end] for place in parsed.relation_places]
    assert words == ["right of", "to the right of"]


def test_on_the_left_of_is_a_relation_not_a_position(parser: PromptParser) -> None:
    parsed = parser.parse("a cat on the left of a car")
    assert parsed.scene.relation == "left_of" and parsed.complete


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("a dragon in a cave", ("dragon in a cave",)),
        ("a dragon in a cave, pixel art", ("dragon in a cave",)),
        ("a sea monster", ("sea monster",)),
        ("the night is a detailed thing", ("night is a detailed thing",)),
        ("a car and a cat on the left", ("on the left",)),
        ("a red car (masterpiece:1.2)", ("masterpiece:1", "2", "(", ":", ")")),
        ("🐉 car", ("🐉",)),
        ("ein Drache über dem Schloß", ("ein Drache über dem Schloß",)),
    ],
)
def test_keeps_what_it_does_not_know(parser: PromptParser, text: str, rest: tuple[str, ...]) -> None:
    parsed = parser.parse(text)
    assert parsed.text == text
    assert parsed.rest == rest
    assert not parsed.complete


@pytest.mark.parametrize(
    "text", ["", "   ", ",,,", "a", "\x00\x01", "İİİ car", "a " * 900, "]" * 2000, "left of above of"]
)
def test_never_fails(parser: PromptParser, text: str) -> None:
    assert parser.parse(text).text == text


def test_bare_style_words_count_only_between_commas(parser: PromptParser) -> None:
    assert parser.parse("a car, neon").scene.style == "neon"
    assert parser.parse("a neon car").scene.style is None
