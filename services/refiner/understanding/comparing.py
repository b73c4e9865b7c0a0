"""What to change in one scene to make it say what another says."""

from __future__ import annotations

from collections.abc import Sequence

from services.refiner.domain import Aspect, PromptEdit
from services.refiner.understanding.rows import Row, row_edit
from services.refiner.understanding.scene_prompt import PromptObject, Property, ScenePrompt, SceneWriter


def difference(
    base: ScenePrompt, goal: ScenePrompt, writer: SceneWriter, aspects: frozenset[Aspect] = frozenset(Aspect)
) -> tuple[PromptEdit, ...]:
    """Edits that lead from `base` to `goal`, in the given aspects only.

    Indexes are those of `base`; added objects follow its last. What the goal does not say is left as it is. Objects are
    matched by kind first, so that objects in another order are a change of their relation, not of their kinds.
    """
    if not goal.objects:
        pairs: list[tuple[int, int]] = []
        added: list[int] = []
        removed: list[int] = []
    else:
        pairs, added, removed = _match(base.objects, goal.objects)
    edits: list[PromptEdit] = []
    for index, position in pairs:
        item = goal.objects[position]
        for name in ("kind", "color", "size"):
            before, after = getattr(base.objects[index], name), getattr(item, name)
            if after is not None and before != after:
                address = f"objects[{index}].{name}"
                edits.append(PromptEdit(address, writer.phrase(name, before or ""), writer.phrase(name, after)))
    edits += [PromptEdit(f"objects[{i}]", writer.object_words(base.objects[i]), "") for i in removed]
    edits += [
        PromptEdit(f"objects[{len(base.objects) + i}]", "", writer.object_words(goal.objects[position]))
        for i, position in enumerate(added)
    ]
    edits += _layout_edits(base, goal, [*(position for _, position in pairs), *added], writer)
    for name in ("background", "style", "quality"):
        before, after = getattr(base, name), getattr(goal, name)
        if after is not None and before != after:
            edits.append(PromptEdit(name, writer.phrase(name, before or ""), writer.phrase(name, after)))
    return tuple(edit for edit in edits if aspect_of_edit(edit) in aspects)


def aspect_of_edit(edit: PromptEdit) -> Aspect | None:
    """Aspect of an edit; None where its property is no attribute of the vocabulary."""
    address = Property.parse(edit.property)
    return address.aspect if address else None


def _match(
    base: Sequence[PromptObject], goal: Sequence[PromptObject]
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """(index in base, index in goal) pairs in the order of the base, indexes to add from the goal, and to remove."""
    open_base = list(range(len(base)))
    partner: dict[int, int] = {}
    for same_kind in (True, False):
        for position, item in enumerate(goal):
            if position in partner:
                continue
            fits = (index for index in open_base if not same_kind or base[index].kind == item.kind)
            if (index := next(fits, None)) is not None:
                partner[position] = index
                open_base.remove(index)
    pairs = sorted((index, position) for position, index in partner.items())
    return pairs, [position for position in range(len(goal)) if position not in partner], open_base


def _layout_edits(base: ScenePrompt, goal: ScenePrompt, places: list[int], writer: SceneWriter) -> list[PromptEdit]:
    """Edits of position or relation; `places` are the goal's indexes of the objects that the base will then have."""
    if len(goal.objects) == 1 and goal.position is not None:
        before = base.position if len(base.objects) == 1 else None
        if before != goal.position:
            phrase = writer.phrase("position", goal.position)
            return [PromptEdit("position", writer.phrase("position", before or ""), phrase)]
    if len(goal.objects) > 1 and goal.relation is not None:
        # Where each of the goal's objects will be in the base: in another order, the base reads the row by its kinds.
        row = Row(goal.relation, tuple(places.index(position) for position in range(len(places))))
        if not row.is_kept or row.relation != base.relation:
            old, new = [item.kind for item in base.objects], [goal.objects[position].kind for position in places]
            return [row_edit(base.relation, old, row, new, writer)]
    return []
