from __future__ import annotations

import random

import pytest

from services.refiner.domain import Aspect
from services.refiner.understanding.comparing import aspect_of_edit, difference
from services.refiner.understanding.editing import PromptEditor
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.scene_prompt import ScenePrompt
from tests.refiner.helpers import scene_prompt
from world import captions, scene


def _aspect_values(drawn: ScenePrompt) -> dict[Aspect, object]:
    return {
        Aspect.OVERALL: (sorted(item.kind for item in drawn.objects), drawn.position, drawn.relation, drawn.background),
        Aspect.STYLE: drawn.style,
        Aspect.COLOR: sorted((item.kind, item.color or "") for item in drawn.objects),
        Aspect.DETAIL: (sorted((item.kind, item.size or "") for item in drawn.objects), drawn.quality),
    }


def test_edits_lead_from_any_scene_to_any_other(parser: PromptParser, editor: PromptEditor) -> None:
    chance = random.Random(3)
    for _ in range(300):
        first, second = (scene.sample_scene(chance, "any") for _ in range(2))
        goal = scene_prompt(second)
        edits = difference(scene_prompt(first), goal, parser.writer)
        reached = parser.parse(editor.apply(captions.canonical(first), edits).prompt).scene
        # A color that the goal does not say is left as it is; everything else is reached.
        assert reached.background == goal.background and reached.style == goal.style
        assert reached.position == goal.position and reached.relation == goal.relation
        for ours, theirs in zip(reached.objects, goal.objects, strict=True):
            assert (ours.kind, ours.size) == (theirs.kind, theirs.size)
            assert theirs.color in (None, ours.color)


def test_equal_scenes_differ_in_nothing(parser: PromptParser) -> None:
    chance = random.Random(4)
    for _ in range(100):
        drawn = scene_prompt(scene.sample_scene(chance, "any"))
        assert difference(drawn, drawn, parser.writer) == ()


def test_edits_of_an_aspect_leave_the_others_untouched(parser: PromptParser, editor: PromptEditor) -> None:
    chance = random.Random(5)
    for _ in range(300):
        first, second = (scene.sample_scene(chance, "any") for _ in range(2))
        aspect = chance.choice(list(Aspect)[1:])
        edits = difference(scene_prompt(first), scene_prompt(second), parser.writer, frozenset({aspect}))
        assert {aspect_of_edit(edit) for edit in edits} <= {aspect}
        before = _aspect_values(scene_prompt(first))
        after = _aspect_values(parser.parse(editor.apply(captions.canonical(first), edits).prompt).scene)
        assert {name for name in Aspect if before[name] != after[name]} <= {aspect}


def test_a_swap_is_a_change_of_the_relation(parser: PromptParser) -> None:
    ours = parser.parse("a large car left of a small cat").scene
    theirs = parser.parse("a small cat left of a large car").scene
    edits = difference(ours, theirs, parser.writer)
    assert [(edit.property, edit.before, edit.after) for edit in edits] == [("relation", "left of", "right of")]


def test_properties_tell_their_aspect(parser: PromptParser) -> None:
    ours = parser.parse("a small red car in the center on a meadow, pixel art, high quality").scene
    theirs = parser.parse("a large blue fish on the left in the snow, neon glow, low quality").scene
    edits = difference(ours, theirs, parser.writer)
    assert {edit.property: aspect_of_edit(edit) for edit in edits} == {
        "objects[0].kind": Aspect.OVERALL,
        "objects[0].color": Aspect.COLOR,
        "objects[0].size": Aspect.DETAIL,
        "position": Aspect.OVERALL,
        "background": Aspect.OVERALL,
        "style": Aspect.STYLE,
        "quality": Aspect.DETAIL,
    }


@pytest.mark.parametrize(
    ("goal", "edits"),
    [
        (
            "a small cat left of a large car left of a moon",
            [("relation", "car left of cat left of moon", "cat left of car left of moon")],
        ),
        ("a moon left of a small cat left of a large car", [("relation", "left of", "right of")]),
        ("a large car above a small cat above a moon", [("relation", "left of", "above")]),
        ("a large car left of a moon", [("objects[1]", "a small cat", "")]),
        ("a large car left of a small dog left of a moon", [("objects[1].kind", "cat", "dog")]),
        (
            "a moon left of a large car",
            [("objects[1]", "a small cat", ""), ("relation", "left of", "right of")],
        ),
        ("a moon, a small cat and a large car", []),
    ],
)
def test_three_objects(parser: PromptParser, goal: str, edits: list[tuple[str, str, str]]) -> None:
    ours = parser.parse("a large car left of a small cat left of a moon").scene
    found = difference(ours, parser.parse(goal).scene, parser.writer)
    assert [(edit.property, edit.before, edit.after) for edit in found] == edits


def test_an_object_more_stands_at_the_end_or_is_moved(parser: PromptParser) -> None:
    ours = parser.parse("a car left of a cat").scene
    at_end = difference(ours, parser.parse("a car left of a cat left of a moon").scene, parser.writer)
    assert [(edit.property, edit.after) for edit in at_end] == [("objects[2]", "a moon")]
    between = difference(ours, parser.parse("a car left of a moon left of a cat").scene, parser.writer)
    assert [(edit.property, edit.after) for edit in between] == [
        ("objects[2]", "a moon"),
        ("relation", "car left of moon left of cat"),
    ]
