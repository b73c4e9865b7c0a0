from __future__ import annotations

import pytest

from services.refiner.domain import MAX_PROMPT_CHARACTERS, PromptEdit
from services.refiner.understanding.editing import TEXT, PromptEditor
from tests.refiner.helpers import CAR_CAT, CAR_CAT_MOON, ROBOT

NATURAL = "watercolor of a big red automobile in winter"
ROW = "a moon to the right of a kitten right of a car"
TAIL = "on a meadow, pixel art, high quality"
FREE = "an old dragon with a red car in a cave"


@pytest.mark.parametrize(
    ("prompt", "edit", "expected"),
    [
        (CAR_CAT, ("style", "neon glow"), "a large red car left of a small cat on a meadow, neon glow, high quality"),
        (CAR_CAT, ("objects[1]", ""), "a large red car on a meadow, pixel art, high quality"),
        (CAR_CAT, ("relation", "right of"), "a small cat left of a large red car on a meadow, pixel art, high quality"),
        # The cat is the second object of the scene although it stands first in this text.
        ("a cat right of a car", ("relation", "right of"), "a cat left of a car"),
        (
            CAR_CAT,
            ("objects[0].kind", "robot"),
            "a large robot left of a small cat on a meadow, pixel art, high quality",
        ),
        (
            ROBOT,
            ("objects[1]", "a blue fish"),
            "a small robot and a blue fish over the sea, watercolor painting, high quality",
        ),
        (ROBOT, ("quality", ""), "a small robot in the center over the sea, watercolor painting"),
        (NATURAL, ("objects[0].color", "orange"), "watercolor of a big orange automobile in winter"),
        (NATURAL, ("style", "pixel art"), "pixel art of a big red automobile in winter"),
        (NATURAL, ("objects[0].size", ""), "watercolor of a red automobile in winter"),
        (NATURAL, ("quality", "high quality"), "watercolor of a big red automobile in winter, high quality"),
        (NATURAL, ("objects[0].kind", "elephant"), "watercolor of a big elephant in winter"),
        (NATURAL, ("position", "on the left"), "watercolor of a big red automobile on the left in winter"),
        ("a car, sea", ("background", "in the desert"), "a car, desert"),
        ("a car", ("objects[0].color", "orange"), "an orange car"),
        (FREE, ("objects[0].color", "orange"), "an old dragon with an orange car in a cave"),
        (FREE, ("objects[0].kind", "unicorn"), "an old dragon with a red unicorn in a cave"),
        (FREE, ("style", "neon glow"), "an old dragon with a red car in a cave, neon glow"),
        (FREE, ("objects[1]", "a small moon"), "an old dragon with a red car in a cave, a small moon"),
        # Rows of three: one fewer or one more leaves a row, and an order names the kinds.
        (CAR_CAT_MOON, ("objects[1]", ""), f"a large red car left of a small moon {TAIL}"),
        (CAR_CAT, ("objects[2]", "a small moon"), CAR_CAT_MOON),
        (CAR_CAT_MOON, ("objects[1].kind", "dog"), CAR_CAT_MOON.replace("cat", "dog")),
        (CAR_CAT_MOON, ("objects[1].size", "large"), CAR_CAT_MOON.replace("small cat", "large cat")),
        (CAR_CAT_MOON, ("relation", "above"), CAR_CAT_MOON.replace("left of", "above")),
        (
            CAR_CAT_MOON,
            ("relation", "right of"),
            f"a small moon left of a small cat left of a large red car {TAIL}",
        ),
        (
            CAR_CAT_MOON,
            ("relation", "cat left of car left of moon"),
            f"a small cat left of a large red car left of a small moon {TAIL}",
        ),
        (
            CAR_CAT_MOON,
            ("relation", "cat below car below moon"),
            f"a small moon above a large red car above a small cat {TAIL}",
        ),
        (CAR_CAT_MOON, ("relation", ""), f"a large red car, a small cat and a small moon {TAIL}"),
        # What a person wrote is kept: words change places, or only the relation's change.
        (ROW, ("relation", "cat left of car left of moon"), "a moon to the right of a car right of a kitten"),
        (ROW, ("relation", "right of"), "a moon left of a kitten left of a car"),
        (ROW, ("relation", "cat above car above moon"), "a moon below a car below a kitten"),
        (ROW, ("relation", "behind"), "a moon behind a kitten behind a car"),
        (ROW, ("objects[1].kind", "dog"), "a moon to the right of a dog right of a car"),
        (
            f"a dragon over {ROW}",
            ("relation", "moon left of cat left of car"),
            "a dragon over a moon left of a kitten left of a car",
        ),
        # A hole in a sentence would mangle it.
        (FREE, ("objects[0]", ""), "an old dragon with a red car in a cave, without a red car"),
        ("a dragon, a red car, a cave", ("objects[0]", ""), "a dragon, a cave"),
        ("a dragon", ("background", "on Mars"), "a dragon, on Mars"),
    ],
)
def test_one_edit(editor: PromptEditor, prompt: str, edit: tuple[str, str], expected: str) -> None:
    name, after = edit
    revision = editor.apply(prompt, [PromptEdit(name, "whatever", after)])
    assert revision.prompt == expected
    assert [made.property for made in revision.edits] == [name]


@pytest.mark.parametrize(
    "edit",
    [
        PromptEdit("style", "", "pixel art"),
        PromptEdit("objects[7].color", "", "red"),
        PromptEdit("objects[0].weight", "", "heavy"),
        PromptEdit("__class__", "", "red"),
        PromptEdit("objects[-1]", "", ""),
        PromptEdit("position", "", "on the left"),
        PromptEdit("relation", "", "dog left of cat"),
        PromptEdit("relation", "", "car left of cat left of moon"),
        PromptEdit(TEXT, "nowhere", ""),
        PromptEdit(TEXT, "", ""),
    ],
)
def test_edits_that_fit_nothing_change_nothing(editor: PromptEditor, edit: PromptEdit) -> None:
    revision = editor.apply(CAR_CAT, [edit])
    assert revision.prompt == CAR_CAT
    assert revision.edits == ()


def test_several_edits_do_not_disturb_each_other(editor: PromptEditor) -> None:
    edits = [
        PromptEdit("objects[0]", "a large red car", ""),
        PromptEdit("objects[1].size", "small", "large"),
        PromptEdit("position", "", "on the left"),
        PromptEdit("background", "on a meadow", "in the desert"),
    ]
    revision = editor.apply(CAR_CAT, edits)
    assert revision.prompt == "a large cat on the left in the desert, pixel art, high quality"
    assert len(revision.edits) == 4


def test_the_last_object_is_never_removed(editor: PromptEditor) -> None:
    assert editor.apply(ROBOT, [PromptEdit("objects[0]", "", "")]).prompt == ROBOT


def test_a_row_is_said_of_what_the_other_edits_leave(editor: PromptEditor) -> None:
    edits = [
        PromptEdit("relation", "", "dog left of moon left of car"),
        PromptEdit("objects[1].kind", "cat", "dog"),
    ]
    revision = editor.apply(CAR_CAT_MOON, edits)
    assert revision.prompt == f"a small dog left of a small moon left of a large red car {TAIL}"
    edits = [PromptEdit("objects[0]", "", ""), PromptEdit("relation", "", "moon left of cat")]
    assert editor.apply(CAR_CAT_MOON, edits).prompt == f"a small moon left of a small cat {TAIL}"


def test_a_row_of_words_that_nobody_knows_is_left_alone(editor: PromptEditor) -> None:
    text = "a dragon with a car and a cat"
    assert editor.apply(text, [PromptEdit("relation", "", "right of")]).prompt == text


def test_phrases_are_added_once_removed_and_replaced(editor: PromptEditor) -> None:
    assert editor.apply("a dragon", [PromptEdit(TEXT, "", "smoke")]).prompt == "a dragon, smoke"
    assert editor.apply("a dragon, smoke", [PromptEdit(TEXT, "", "smoke")]).prompt == "a dragon, smoke"
    assert editor.apply("a dragon, smoke, fire", [PromptEdit(TEXT, "smoke", "")]).prompt == "a dragon, fire"
    assert editor.apply("an old dragon", [PromptEdit(TEXT, "old", "young")]).prompt == "a young dragon"


def test_a_prompt_never_grows_over_the_limit(editor: PromptEditor) -> None:
    prompt = "x" * (MAX_PROMPT_CHARACTERS - 3)
    revision = editor.apply(prompt, [PromptEdit("style", "", "neon glow")])
    assert revision.prompt == prompt and revision.edits == ()
