"""Orders of objects in words and back."""

from __future__ import annotations

import itertools

import pytest

from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.rows import Row, RowDraft, in_row, read_row, row_edit

KINDS = ["car", "cat", "moon"]


@pytest.mark.parametrize("count", [2, 3])
def test_every_row_is_read_as_it_is_said(parser: PromptParser, count: int) -> None:
    kinds = KINDS[:count]
    scene = parser.parse(" left of ".join(f"a {kind}" for kind in kinds)).scene
    for relation, order in itertools.product(("left_of", "above"), itertools.permutations(range(count))):
        row = Row(relation, order)
        edit = row_edit(scene.relation, kinds, row, kinds, parser.writer)
        assert read_row(edit.after, kinds, parser) == row
        placed = in_row(scene, row)
        assert [item.kind for item in placed.objects] == [kinds[index] for index in order]
        assert placed.relation == relation


def test_two_of_a_kind_are_told_apart_by_their_order(parser: PromptParser) -> None:
    assert read_row("cat left of car left of car", ["car", "cat", "car"], parser) == Row("left_of", (1, 0, 2))


@pytest.mark.parametrize(
    "words", ["", "behind", "car left of cat", "car, cat and moon", "car left of cat left of dog", "left of above"]
)
def test_words_that_say_no_row_of_all_are_none(parser: PromptParser, words: str) -> None:
    assert read_row(words, KINDS, parser) is None


def test_one_object_is_no_row(parser: PromptParser) -> None:
    assert read_row("left of", ["car"], parser) is None


def _order(draft: RowDraft, parser: PromptParser) -> str:
    edit = draft.edit(parser.writer)
    return edit.after if edit else ""


def test_a_draft_says_what_its_changes_come_to(parser: PromptParser) -> None:
    scene = parser.parse("a car left of a cat left of a moon").scene
    draft = RowDraft(scene)
    assert _order(draft, parser) == ""
    draft.swap(0, 1)
    assert _order(draft, parser) == "cat left of car left of moon"
    draft.swap(0, 1)
    assert _order(draft, parser) == ""
    draft.turn()
    assert _order(draft, parser) == "right of"
    assert draft.put(1, "top")
    assert _order(draft, parser) == "cat above moon above car"
    draft.remove(1)
    draft.rename(2, "dog")
    assert draft.put(draft.add("fish"), "center")
    assert _order(draft, parser) == "dog above fish above car"
    assert (draft.index("moon"), draft.index("dog"), draft.index("fish")) == (None, 2, 3)


def test_places_that_a_row_has_not_change_nothing(parser: PromptParser) -> None:
    pair, listed = (RowDraft(parser.parse(text).scene) for text in ("a car left of a cat", "a car, a cat and a moon"))
    assert not pair.put(0, "center") and not listed.put(0, "center") and not pair.put(None, "left")
    assert pair.edit(parser.writer) is None and listed.edit(parser.writer) is None
