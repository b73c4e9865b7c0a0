from __future__ import annotations

import pytest

from services.refiner.domain import Aspect
from services.refiner.understanding.editing import PromptEditor
from services.refiner.understanding.feedback import FeedbackReader
from services.refiner.understanding.parsing import PromptParser
from tests.refiner.helpers import CAR_CAT, CAR_CAT_MOON, ROBOT

FREE = "a dragon in a cave"
THREE_FISH = "a small red fish left of a small green car left of a small blue balloon in a room, neon glow, low quality"
TAIL = "on a meadow, pixel art, high quality"


@pytest.mark.parametrize(
    ("prompt", "text", "expected"),
    [
        # Colors
        (CAR_CAT, "make the car blue", f"a large blue car left of a small cat {TAIL}"),
        (CAR_CAT, "The car should be purple, not red!", f"a large purple car left of a small cat {TAIL}"),
        (CAR_CAT, "turn the red car into a blue one", f"a large blue car left of a small cat {TAIL}"),
        (CAR_CAT, "make it green", f"a large green car left of a small cat {TAIL}"),
        (CAR_CAT, "the car should not be red", f"a large car left of a small cat {TAIL}"),
        # Styles, places, quality
        (
            CAR_CAT,
            "it should be a sketch",
            "a large red car left of a small cat on a meadow, pencil sketch, high quality",
        ),
        (
            CAR_CAT,
            "make it a watercolour",
            "a large red car left of a small cat on a meadow, watercolor painting, high quality",
        ),
        (CAR_CAT, "not pixel art but neon", "a large red car left of a small cat on a meadow, neon glow, high quality"),
        (
            CAR_CAT,
            "change the background to desert",
            "a large red car left of a small cat in the desert, pixel art, high quality",
        ),
        (
            CAR_CAT,
            "it should be night",
            "a large red car left of a small cat in a starry night, pixel art, high quality",
        ),
        (CAR_CAT, "blurrier please", "a large red car left of a small cat on a meadow, pixel art, low quality"),
        # Kinds
        (CAR_CAT, "no, an elephant instead of the cat", f"a large red car left of a small elephant {TAIL}"),
        (CAR_CAT, "no, a zebra instead of the cat", f"a large red car left of a small zebra {TAIL}"),
        (CAR_CAT, "replace the cat with a big fish", f"a large red car left of a large fish {TAIL}"),
        (CAR_CAT, "change the car to a rocket", f"a large rocket left of a small cat {TAIL}"),
        (ROBOT, "a wizard", "a small wizard in the center over the sea, watercolor painting, high quality"),
        # More and fewer things
        (CAR_CAT, "remove the cat", f"a large red car {TAIL}"),
        (CAR_CAT, "without the car", f"a small cat {TAIL}"),
        (CAR_CAT, "there is no cat", f"a large red car {TAIL}"),
        (ROBOT, "add a red balloon", "a small robot and a red balloon over the sea, watercolor painting, high quality"),
        (
            ROBOT,
            "add a moon above the robot",
            "a moon above a small robot over the sea, watercolor painting, high quality",
        ),
        (
            ROBOT,
            "add a cat on its right",
            "a small robot left of a cat over the sea, watercolor painting, high quality",
        ),
        (
            ROBOT,
            "there should be a moon at the top",
            "a moon above a small robot over the sea, watercolor painting, high quality",
        ),
        # Sizes and places
        (CAR_CAT, "bigger", f"a large red car left of a large cat {TAIL}"),
        (CAR_CAT, "the car is too big", f"a small red car left of a small cat {TAIL}"),
        (CAR_CAT, "make the cat bigger and the car green", f"a large green car left of a large cat {TAIL}"),
        (ROBOT, "move it to the left", "a small robot on the left over the sea, watercolor painting, high quality"),
        (
            ROBOT,
            "the robot should be higher",
            "a small robot at the top over the sea, watercolor painting, high quality",
        ),
        (CAR_CAT, "put the cat on the left", f"a small cat left of a large red car {TAIL}"),
        (CAR_CAT, "the cat should be above the car", f"a small cat above a large red car {TAIL}"),
        (CAR_CAT, "swap them", f"a small cat left of a large red car {TAIL}"),
        # Three objects: one more, one fewer, another one
        (CAR_CAT, "add a dog on its right", f"a large red car left of a small cat left of a dog {TAIL}"),
        (CAR_CAT, "add a dog", f"a large red car left of a small cat left of a dog {TAIL}"),
        (CAR_CAT, "add a dog on the left", f"a dog left of a large red car left of a small cat {TAIL}"),
        (CAR_CAT, "add a dog between the car and the cat", f"a large red car left of a dog left of a small cat {TAIL}"),
        (
            CAR_CAT,
            "add a blue fish right of the car",
            f"a large red car left of a blue fish left of a small cat {TAIL}",
        ),
        (CAR_CAT, "add a moon above the car", f"a moon above a large red car above a small cat {TAIL}"),
        (
            ROBOT,
            "add a dog and a moon",
            "a small robot, a dog and a moon over the sea, watercolor painting, high quality",
        ),
        (
            ROBOT,
            "add a dog on its left and a moon on its right",
            "a dog left of a small robot left of a moon over the sea, watercolor painting, high quality",
        ),
        (
            ROBOT,
            "the robot should be left of a cat",
            "a small robot left of a cat over the sea, watercolor painting, high quality",
        ),
        (CAR_CAT_MOON, "remove the cat", f"a large red car left of a small moon {TAIL}"),
        (CAR_CAT_MOON, "remove the middle one", f"a large red car left of a small moon {TAIL}"),
        (CAR_CAT_MOON, "remove the cat and put the moon on the left", f"a small moon left of a large red car {TAIL}"),
        (CAR_CAT_MOON, "remove the cat and the moon", f"a large red car {TAIL}"),
        (CAR_CAT_MOON, "a dog instead of the cat", CAR_CAT_MOON.replace("cat", "dog")),
        (
            CAR_CAT_MOON,
            "replace the cat with a dog and put the dog on the left",
            f"a small dog left of a large red car left of a small moon {TAIL}",
        ),
        # Three objects: colors and sizes of one of them
        (THREE_FISH, "make the middle one purple", THREE_FISH.replace("green", "purple")),
        (THREE_FISH, "the third object should be bigger", THREE_FISH.replace("small blue", "large blue")),
        (THREE_FISH, "make the one on the left orange", THREE_FISH.replace("red", "orange")),
        (CAR_CAT_MOON, "make the object at the top blue", CAR_CAT_MOON.replace("red", "blue")),
        (CAR_CAT_MOON, "bigger", CAR_CAT_MOON.replace("small", "large")),
        # Three objects: moves and swaps
        (CAR_CAT_MOON, "swap the car and the cat", f"a small cat left of a large red car left of a small moon {TAIL}"),
        (
            CAR_CAT_MOON,
            "swap the cat with the moon",
            f"a large red car left of a small moon left of a small cat {TAIL}",
        ),
        (CAR_CAT_MOON, "the other way round", f"a small moon left of a small cat left of a large red car {TAIL}"),
        (
            CAR_CAT_MOON,
            "swap the car and the moon and make the car blue",
            f"a small moon left of a small cat left of a large blue car {TAIL}",
        ),
        (
            CAR_CAT_MOON,
            "put the moon in the middle",
            f"a large red car left of a small moon left of a small cat {TAIL}",
        ),
        (CAR_CAT_MOON, "put the moon on the left", f"a small moon left of a large red car left of a small cat {TAIL}"),
        (
            CAR_CAT_MOON,
            "move the car between the cat and the moon",
            f"a small cat left of a large red car left of a small moon {TAIL}",
        ),
        (
            CAR_CAT_MOON,
            "the moon should be left of the cat",
            f"a large red car left of a small moon left of a small cat {TAIL}",
        ),
        (CAR_CAT_MOON, "the moon should be right of the car", CAR_CAT_MOON),
        (
            CAR_CAT_MOON,
            "the cat should be above the car",
            f"a small cat above a large red car above a small moon {TAIL}",
        ),
        (
            CAR_CAT_MOON,
            "the cat left of the moon left of the car",
            f"a small cat left of a small moon left of a large red car {TAIL}",
        ),
        ("a car, a cat and a moon", "put the cat on the left", "a cat left of a car left of a moon"),
        ("a moon right of a kitten right of a car", "swap them", "a moon left of a kitten left of a car"),
        (
            "a moon right of a kitten right of a car",
            "swap the car and the cat",
            "a moon right of a car right of a kitten",
        ),
        # Words that the vocabulary does not know
        (FREE, "make it scarier", "a dragon in a cave, scarier"),
        (FREE, "add smoke", "a dragon in a cave, smoke"),
        (FREE, "the dragon should be green", "a green dragon in a cave"),
        (FREE, "a cat instead of the dragon", "a cat in a cave"),
        (FREE, "pixel art", "a dragon in a cave, pixel art"),
        (FREE, "remove the cave", "a dragon in a cave, without cave"),
        ("a dragon, smoke", "remove the smoke", "a dragon"),
        # Nothing asked for
        (CAR_CAT, "", CAR_CAT),
        (CAR_CAT, " \n ", CAR_CAT),
        (CAR_CAT, "I like it", CAR_CAT),
        (CAR_CAT, "it should be pixel art", CAR_CAT),
        (CAR_CAT, "???", CAR_CAT),
    ],
)
def test_what_people_say(parser: PromptParser, editor: PromptEditor, prompt: str, text: str, expected: str) -> None:
    edits = FeedbackReader(parser).read(prompt, text)
    assert editor.apply(prompt, edits).prompt == expected


def test_an_aspect_restricts_what_changes(parser: PromptParser) -> None:
    edits = FeedbackReader(parser).read(CAR_CAT, "make the car blue, in the snow", Aspect.COLOR)
    assert [edit.property for edit in edits] == ["objects[0].color"]


def test_hostile_texts_end(parser: PromptParser, editor: PromptEditor) -> None:
    reader = FeedbackReader(parser)
    for text in ("not " * 400 + "red", "a" * 2000, "make " * 300 + "it blue", "(((" * 500, "and " * 500, "\x00; DROP"):
        edits = reader.read(CAR_CAT, text)
        assert len(editor.apply(CAR_CAT, edits).prompt) <= 2000
