from __future__ import annotations

import random

from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.synonyms import Rephraser
from tests.refiner.helpers import CAR_CAT
from world import captions, scene


def test_says_the_same_in_other_words(parser: PromptParser) -> None:
    chance, rephraser = random.Random(6), Rephraser(parser)
    for _ in range(100):
        prompt = captions.canonical(scene.sample_scene(chance, "any"))
        found = rephraser.rephrase(prompt, 3, seed=1)
        assert len(found) == len(set(found)) == 3
        assert prompt not in found
        assert all(parser.parse(text).scene == parser.parse(prompt).scene for text in found)
        assert all(parser.parse(text).complete for text in found)


def test_same_seed_same_synonyms(parser: PromptParser) -> None:
    rephraser = Rephraser(parser)
    assert rephraser.rephrase(CAR_CAT, 4, seed=7) == Rephraser(parser).rephrase(CAR_CAT, 4, seed=7)
    assert rephraser.rephrase(CAR_CAT, 4, seed=7) != rephraser.rephrase(CAR_CAT, 4, seed=8)


def test_keeps_words_that_it_does_not_know(parser: PromptParser) -> None:
    found = Rephraser(parser).rephrase("a dragon in a cave, pixel art", 2, seed=1)
    assert found and all(text.startswith("a dragon in a cave, ") for text in found)
    assert Rephraser(parser).rephrase("a dragon in a cave", 2, seed=1) == []


def test_leaves_out_what_is_known_already(parser: PromptParser) -> None:
    rephraser = Rephraser(parser)
    first = rephraser.rephrase(CAR_CAT, 1, seed=3)
    assert rephraser.rephrase(CAR_CAT, 1, seed=3, known=first) != first
