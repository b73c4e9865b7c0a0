"""What to change in one scene to make it say what another says."""

from __future__ import annotations

from collections.abc import Sequence

from services.refiner.domain import Aspect, PromptEdit
from services.refiner.understanding.scene_prompt import PromptObject, Property, ScenePrompt, SceneWriter


def difference(
    base: ScenePrompt, goal: ScenePrompt, writer: SceneWriter, aspects: frozenset[Aspect] = frozenset(Aspect)
) -> tuple[PromptEdit, ...]:
    """Edits that lead from `base` to `goal`, in the given aspects only.

    Indexes are those of `base`; added objects follow its last. What the goal does not say is left as it is. Objects are
    matched by kind first, so that a swap of two objects is a change of their relation, not of their kinds.
    """
    if not goal.objects:
        pairs: list[tuple[int, PromptObject]] = []
        added: list[PromptObject] = []
        removed: list[int] = []
    else:
        pairs, added, removed = _match(base.objects, goal.objects)
    edits: list[PromptEdit] = []
    for index, item in pairs:
        for name in ("kind", "color", "size"):
            before, after = getattr(base.objects[index], name), getattr(item, name)
            if after is not None and before != after:
                address = f"objects[{index}].{name}"
                edits.append(PromptEdit(address, writer.phrase(name, before or ""), writer.phrase(name, after)))
    edits += [PromptEdit(f"objects[{i}]", writer.object_words(base.objects[i]), "") for i in removed]
    edits += [
        PromptEdit(f"objects[{len(base.objects) + i}]", "", writer.object_words(item)) for i, item in enumerate(added)
    ]
    edits += _layout_edits(base, goal, pairs, writer)
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
) -> tuple[list[tuple[int, PromptObject]], list[PromptObject], list[int]]:
    """(index in base, object of goal) pairs, objects to add, indexes to remove."""
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
    pairs = sorted((index, goal[position]) for position, index in partner.items())
    return pairs, [item for position, item in enumerate(goal) if position not in partner], open_base


def _layout_edits(
    base: ScenePrompt, goal: ScenePrompt, pairs: list[tuple[int, PromptObject]], writer: SceneWriter
) -> list[PromptEdit]:
    if len(goal.objects) == 1 and goal.position is not None:
        before = base.position if len(base.objects) == 1 else None
        if before != goal.position:
            phrase = writer.phrase("position", goal.position)
            return [PromptEdit("position", writer.phrase("position", before or ""), phrase)]
    if len(goal.objects) == 2 and goal.relation is not None:
        # The goal's first object may be the base's second: then the base reads the relation backwards.
        inverse = bool(pairs) and pairs[0][1] is not goal.objects[0]
        before_words = writer.relation_phrase(base.relation) if base.relation else ""
        after_words = writer.relation_phrase(goal.relation, inverse=inverse)
        if before_words != after_words:
            return [PromptEdit("relation", before_words, after_words)]
    return []
