"""Objects in a row or a column: their order as the value of an edit, read back, and changed wish by wish.

A scene has one relation that each of its objects has to the next. So the value of the property "relation" says both:
"left of" keeps the order, "right of" turns it round, and any other order names the kinds, "cat left of car left of
moon".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.refiner.domain import PromptEdit
from services.refiner.understanding.lexicon import Category, Form
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.scene_prompt import SIDES, ScenePrompt, SceneWriter


@dataclass(frozen=True)
class Row:
    """A relation and the order of objects: indexes in a list of them, the leftmost or topmost first."""

    relation: str
    order: tuple[int, ...]

    @property
    def is_kept(self) -> bool:
        """Whether the order is the list's."""
        return self.order == tuple(range(len(self.order)))

    @property
    def is_reversed(self) -> bool:
        """Whether the order is the list's from its end."""
        return self.order[::-1] == tuple(range(len(self.order)))


def row_edit(
    before: str | None, before_kinds: Sequence[str], row: Row, kinds: Sequence[str], writer: SceneWriter
) -> PromptEdit:
    """The edit that sets a row of objects of `kinds`, from the relation `before` of objects of `before_kinds`."""
    old = writer.relation_phrase(before) if before else ""
    if row.is_kept or row.is_reversed:
        return PromptEdit("relation", old, writer.relation_phrase(row.relation, inverse=not row.is_kept))
    after = f" {writer.relation_phrase(row.relation)} ".join(kinds[index] for index in row.order)
    return PromptEdit("relation", f" {old} ".join(before_kinds) if before else "", after)


def read_row(words: str, kinds: Sequence[str], parser: PromptParser) -> Row | None:
    """The row that words say of objects of `kinds`; None if they say none, or not of all of them."""
    if len(kinds) < 2:
        return None
    said = parser.parse(words).scene
    if said.objects:
        order = _order([item.kind for item in said.objects], kinds)
        return Row(said.relation, order) if said.relation and order else None
    match = parser.lexicon.value(Category.RELATION, words)
    if match is None:
        return None
    order = tuple(range(len(kinds)))
    return Row(match.name, order[::-1] if match.form is Form.INVERSE else order)


def in_row(scene: ScenePrompt, row: Row) -> ScenePrompt:
    """The scene with its objects in a row."""
    return replace(scene, objects=tuple(scene.objects[index] for index in row.order), relation=row.relation)


def _order(named: Sequence[str], kinds: Sequence[str]) -> tuple[int, ...] | None:
    left = list(range(len(kinds)))
    order: list[int] = []
    for kind in named:
        index = next((index for index in left if kinds[index] == kind), None)
        if index is None:
            return None
        left.remove(index)
        order.append(index)
    return None if left else tuple(order)


class RowDraft:
    """The row that a person wishes for, while the wishes are read one by one."""

    def __init__(self, scene: ScenePrompt) -> None:
        self._before = scene.relation
        self._before_kinds = [item.kind for item in scene.objects]
        self._kinds = list(self._before_kinds)
        self._order = list(range(len(self._kinds)))
        self._relation = scene.relation

    @property
    def size(self) -> int:
        """Objects in the row."""
        return len(self._order)

    @property
    def indexes(self) -> list[int]:
        """Objects in the order of the list, added ones last."""
        return sorted(self._order)

    @property
    def has_relation(self) -> bool:
        """Whether it is known how the objects stand."""
        return self._relation is not None

    def index(self, kind: str) -> int | None:
        """The object of a kind, added ones after the scene's; None if there is none."""
        return next((index for index in self.indexes if self._kinds[index] == kind), None)

    def add(self, kind: str) -> int:
        """Puts an object at the end; gives its index."""
        self._kinds.append(kind)
        self._order.append(len(self._kinds) - 1)
        return self._order[-1]

    def remove(self, index: int) -> None:
        """Takes an object out."""
        self._order = [other for other in self._order if other != index]

    def rename(self, index: int, kind: str) -> None:
        """Makes an object one of another kind."""
        self._kinds[index] = kind

    def turn(self) -> None:
        """Turns the row round."""
        self._order.reverse()

    def swap(self, one: int, other: int) -> None:
        """Exchanges two objects."""
        a, b = self._order.index(one), self._order.index(other)
        self._order[a], self._order[b] = other, one

    def put(self, index: int | None, position: str) -> bool:
        """Moves an object to a side or the middle of the row; False where the row has no such object or place."""
        relation, side = SIDES[position]
        rest = [other for other in self._order if other != index]
        has_middle = self._relation is not None and len(rest) % 2 == 0
        if index is None or len(rest) == self.size or not (relation or has_middle):
            return False
        self._relation = relation or self._relation
        rest.insert({-1: 0, 0: len(rest) // 2, 1: len(rest)}[side], index)
        self._order = rest
        return True

    def put_beside(self, index: int, other: int | None, relation: str, *, behind: bool) -> None:
        """Gives an object a relation to another one, or to all others: before it, or behind it in the order.

        An object that has the relation already stays where it is.
        """
        is_there = self._relation == relation and index < len(self._before_kinds)
        self._relation = relation
        rest = [one for one in self._order if one != index]
        if other is None:
            rest.insert(len(rest) if behind else 0, index)
        elif is_there and (self._order.index(index) > self._order.index(other)) == behind:
            return
        else:
            rest.insert(rest.index(other) + behind, index)
        self._order = rest

    def put_between(self, index: int, ends: Sequence[int]) -> None:
        """Moves an object behind the first of two others."""
        rest = [one for one in self._order if one != index]
        rest.insert(min(rest.index(end) for end in ends) + 1, index)
        self._order = rest

    def arrange(self, relation: str, order: Sequence[int]) -> None:
        """Sets the relation and the whole order."""
        self._relation, self._order = relation, list(order)

    def edit(self, writer: SceneWriter) -> PromptEdit | None:
        """The edit that makes the row; None if it is the scene's already or there is none."""
        if self._relation is None or self.size < 2:
            return None
        row = Row(self._relation, tuple(self.indexes.index(index) for index in self._order))
        if row.is_kept and row.relation == self._before:
            return None
        return row_edit(self._before, self._before_kinds, row, [self._kinds[index] for index in self.indexes], writer)
