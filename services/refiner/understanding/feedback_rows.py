"""What feedback says about the order of objects: swaps, moves, and objects that are named by their place."""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.refiner.understanding import feedback_words as cues
from services.refiner.understanding.lexicon import Category, Form, Match
from services.refiner.understanding.rows import RowDraft
from services.refiner.understanding.scene_prompt import SIDES, ScenePrompt

_SPELLINGS = {"upper": "top", "lower": "bottom", "middle": "center", "centre": "center"}
_COUNTED = {"first": 0, "second": 1, "third": 2, "last": -1}


def kinds_for_places(scene: ScenePrompt, text: str) -> str:
    """The text with objects named by their kinds where it names them by places: "the middle one" of three."""

    def kind(found: re.Match[str]) -> str:
        place = (found["place"] or found["side"]).lower()
        index = _at(scene, _SPELLINGS.get(place, place))
        return found[0] if index is None else f"the {scene.objects[index].kind}"

    return cues.PLACED.sub(kind, text) if len(scene.objects) > 1 else text


def _at(scene: ScenePrompt, place: str) -> int | None:
    """The object at a place; None where none stands there."""
    count = len(scene.objects)
    if place in _COUNTED:
        return _COUNTED[place] if _COUNTED[place] < count else None
    relation, side = SIDES[place]
    if side == 0:
        return count // 2 if count % 2 else None
    return (0 if side < 0 else -1) if scene.relation == relation else None


def swapped(row: RowDraft, known: Sequence[Match]) -> bool:
    """Exchanges the two objects that are named, or turns the row round where nothing is; whether it did."""
    if not row.has_relation:
        return False
    named = _indexes(row, known)
    if not known:
        row.turn()
    elif len(named) == 2:
        row.swap(*named)
    return not known or len(named) == 2


def moved(row: RowDraft, clause: str, known: Sequence[Match]) -> bool:
    """Moves the object that is named first to where it is said to be among the others; whether it did."""
    relations = [match for match in known if match.category is Category.RELATION]
    between = cues.BETWEEN.search(clause)
    if row.size < 2 or not (relations or between):
        return False
    cue = relations[0].start if relations else between.start() if between else 0
    named = _indexes(row, known)
    subjects = _indexes(row, [match for match in known if match.start < cue])
    if not subjects and row.size == 2 and len(named) == 1:
        # "it should be left of the cat": the other one of two.
        subjects = [index for index in row.indexes if index not in named]
    if not subjects:
        return False
    others = [index for index in named if index not in subjects]
    if not relations:
        row.put_between(subjects[0], others or [index for index in row.indexes if index not in subjects])
        return True
    behind = relations[0].form is Form.INVERSE
    if len(named) == row.size == len(relations) + 1 and len({(match.name, match.form) for match in relations}) == 1:
        row.arrange(relations[0].name, named[::-1] if behind else named)
    else:
        row.put_beside(subjects[0], others[0] if others else None, relations[0].name, behind=behind)
    return True


def _indexes(row: RowDraft, known: Sequence[Match]) -> list[int]:
    """The row's objects that are named, in the order of the text."""
    found = (row.index(match.name) for match in known if match.category is Category.KIND)
    return list(dict.fromkeys(index for index in found if index is not None))
