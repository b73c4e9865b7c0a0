"""Applies edits to prompts.

A prompt that the vocabulary understands whole and that is canonical stays canonical. In any other prompt only the words
of the edited property change, or words are added; what a person wrote is kept. Edits that name nothing we know how to
change are skipped, and the answer says which edits were made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from services.refiner.domain import MAX_PROMPT_CHARACTERS, PromptEdit, Revision
from services.refiner.understanding.lexicon import Category, Form, Match
from services.refiner.understanding.parsing import ParsedPrompt, PromptParser
from services.refiner.understanding.phrases import appended, cut, fix_article, replaced, stands_alone, without_phrase
from services.refiner.understanding.rows import in_row, read_row
from services.refiner.understanding.scene_prompt import Property, ScenePrompt, object_with_value, with_value

TEXT = "text"
"""Property of an edit that adds, removes or replaces a phrase as it is."""

_MAX_VALUE_CHARACTERS = 300
# Values first, then kinds, then what moves indexes; removals from the back.
_ORDER = {"size": 0, "color": 0, "style": 1, "background": 1, "quality": 1, "kind": 2}


class PromptEditor:
    """Edits prompts of one vocabulary."""

    def __init__(self, parser: PromptParser) -> None:
        self._parser = parser
        self._vocabulary = parser.vocabulary
        self._lexicon = parser.lexicon
        self._writer = parser.writer

    def apply(self, prompt: str, edits: Iterable[PromptEdit]) -> Revision:
        """The prompt with the edits made, and the edits that changed it."""
        wanted = sorted(edits, key=_rank)
        parsed = self._parser.parse(prompt)
        if parsed.complete and (parsed.canonical or any(_is_structural(edit, parsed) for edit in wanted)):
            revised = self._apply_to_scene(parsed, wanted)
            if revised is not None:
                return revised
        made: list[PromptEdit] = []
        text = prompt
        for edit in wanted:
            changed = self._apply_to_text(text, edit)
            if changed != text and 0 < len(changed) <= MAX_PROMPT_CHARACTERS:
                text = changed
                made.append(edit)
        return Revision(text, tuple(made))

    def edit_scene(self, scene: ScenePrompt, edit: PromptEdit) -> ScenePrompt | None:
        """The scene with one edit made; None where the edit does not fit or names unknown values."""
        address = Property.parse(edit.property)
        if address is None:
            return None
        if address.index is not None:
            return self._edit_object(scene, address, edit)
        if not edit.after:
            return with_value(scene, address.name or "", None)
        if address.name == "relation":
            row = read_row(edit.after, _kinds(scene), self._parser)
            return in_row(scene, row) if row else None
        match = self._value(address.name or "", edit.after)
        if match is None or (address.name == "position" and len(scene.objects) != 1):
            return None
        return with_value(scene, address.name or "", match.name)

    def _edit_object(self, scene: ScenePrompt, address: Property, edit: PromptEdit) -> ScenePrompt | None:
        index, objects = address.index or 0, list(scene.objects)
        if address.name is None:
            if edit.after:
                found = self._parser.parse(edit.after)
                if len(found.scene.objects) != 1 or found.rest:
                    return None
                objects.append(found.scene.objects[0])
            elif index < len(objects) and len(objects) > 1:
                del objects[index]
            else:
                return None
            # A row stays one: an object more stands at its end.
            relation = scene.relation if len(objects) > 1 else None
            return replace(scene, objects=tuple(objects), relation=relation, position=None)
        if index >= len(objects):
            return None
        if not edit.after:
            if address.name == "kind":
                return None
            objects[index] = object_with_value(objects[index], address.name, None)
            return replace(scene, objects=tuple(objects))
        match = self._value(address.name, edit.after)
        if match is None:
            return None
        objects[index] = object_with_value(objects[index], address.name, match.name)
        kind = self._vocabulary.kind(objects[index].kind)
        if address.name == "kind" and kind is not None and not kind.tintable:
            objects[index] = replace(objects[index], color=None)
        return replace(scene, objects=tuple(objects))

    def _apply_to_scene(self, parsed: ParsedPrompt, edits: Sequence[PromptEdit]) -> Revision | None:
        """Canonical rewriting; None if any edit needs words that the vocabulary does not have."""
        scene, made = parsed.scene, []
        for edit in edits:
            changed = self.edit_scene(scene, edit)
            if changed is None:
                if edit.property == TEXT or not self._value_is_known(edit):
                    return None
                continue
            if changed != scene:
                made.append(edit)
            scene = changed
        if not made or not scene.objects:
            return Revision(parsed.text)
        return Revision(self._writer.write(scene), tuple(made))

    def _value_is_known(self, edit: PromptEdit) -> bool:
        address = Property.parse(edit.property)
        if address is None:
            return False
        if not edit.after:
            return True
        said = self._parser.parse(edit.after)
        if address.name is None or (address.name == "relation" and said.scene.relation):
            return said.complete
        return self._value(address.name, edit.after) is not None

    def _value(self, name: str, wording: str) -> Match | None:
        return self._lexicon.value(Category(name), wording)

    def _apply_to_text(self, text: str, edit: PromptEdit) -> str:
        after = " ".join(edit.after.split())[:_MAX_VALUE_CHARACTERS]
        if edit.property == TEXT:
            if edit.before and after:
                found = re.search(rf"(?<!\w){re.escape(edit.before)}(?!\w)", text, re.IGNORECASE)
                return replaced(text, found.start(), found.end(), after) if found else text
            return appended(text, after) if after else without_phrase(text, edit.before)
        address = Property.parse(edit.property)
        if address is None:
            return text
        parsed = self._parser.parse(text)
        if address.index is not None:
            return self._object_text(parsed, address, after)
        name = address.name or ""
        if name == "relation":
            return self._row_text(parsed, after)
        place = parsed.places.get(name)
        if not after:
            return cut(text, place.start, place.end) if place else text
        match = self._value(name, after)
        if place is not None:
            return replaced(text, place.start, place.end, self._like(place, match, after))
        words = self._writer.phrase(name, match.name) if match else after
        if name == "position" and len(parsed.object_spans) == 1:
            end = parsed.object_spans[0][1]
            return f"{text[:end]} {words}{text[end:]}"
        return appended(text, words)

    def _row_text(self, parsed: ParsedPrompt, after: str) -> str:
        """The text with its row said anew: the relation's words, and the objects' where their order is a new one."""
        places, spans, text = parsed.relation_places, parsed.object_spans, parsed.text
        if not places:
            return text
        row = read_row(after, _kinds(parsed.scene), self._parser)
        if row is None and self._parser.parse(after).scene.objects:
            return text
        words, changes = after or "and", list[tuple[int, int, str]]()
        if row is not None:
            # A row that is only turned round keeps the order in which a person named the objects.
            turned = row.is_reversed and not row.is_kept
            inverse = (places[0].form is Form.INVERSE) != turned
            words = self._writer.relation_phrase(row.relation, inverse=inverse)
            if not turned:
                moves = zip(spans, (spans[index] for index in row.order), strict=True)
                changes += [(*old, text[slice(*new)]) for old, new in moves if old != new]
            if not turned and row.relation == parsed.scene.relation:
                places = ()
        changes += [(match.start, match.end, words) for match in places]
        for start, end, put in sorted(changes, reverse=True):
            text = text[:start] + put + text[end:]
        return text

    def _like(self, place: Match, match: Match | None, after: str) -> str:
        """The new value worded in the form of the old one."""
        if match is None:
            return after
        if place.category is Category.STYLE and place.form is Form.LEAD:
            style = self._vocabulary.style(match.name)
            return style.lead if style else after
        if place.category is Category.BACKGROUND and place.form is Form.BARE:
            return next((term.terse for term in self._vocabulary.backgrounds if term.name == match.name), after)
        return self._writer.phrase(place.category.value, match.name)

    def _object_text(self, parsed: ParsedPrompt, address: Property, after: str) -> str:
        text, index = parsed.text, address.index or 0
        if address.name is None and after:
            return appended(text, after)
        if index >= len(parsed.object_spans):
            return text
        start, end = parsed.object_spans[index]
        if address.name is None:
            # In the middle of a sentence a hole would mangle it: say it in words instead.
            alone = stands_alone(text, start, end)
            return cut(text, start, end) if alone else appended(text, f"without {text[start:end]}")
        place = parsed.places.get(f"objects[{index}].{address.name}")
        if not after:
            return cut(text, place.start, place.end) if place and address.name != "kind" else text
        match = self._value(address.name, after)
        words = self._writer.phrase(address.name, match.name) if match else after
        if place is not None:
            changed = replaced(text, place.start, place.end, words)
        elif address.name == "color":
            kind = parsed.places[f"objects[{index}].kind"]
            changed = replaced(text, kind.start, kind.start, f"{words} ")
        else:
            first = min(match.start for key, match in parsed.places.items() if key.startswith(f"objects[{index}]."))
            changed = replaced(text, first, first, f"{words} ")
        known = self._vocabulary.kind(match.name) if match and address.name == "kind" else None
        color = parsed.places.get(f"objects[{index}].color")
        if known is not None and not known.tintable and color is not None and place is not None:
            changed = changed[: color.start] + changed[color.end :].lstrip()
            changed = fix_article(changed, color.start)
        return changed


def _kinds(scene: ScenePrompt) -> list[str]:
    return [item.kind for item in scene.objects]


def _rank(edit: PromptEdit) -> tuple[int, int]:
    address = Property.parse(edit.property)
    if address is None:
        return 6, 0
    index = address.index or 0
    if address.index is not None and address.name is None:
        return (4, index) if edit.after else (3, -index)
    if address.name in ("position", "relation"):
        return 5, 0
    return _ORDER[address.name or ""], -index


def _is_structural(edit: PromptEdit, parsed: ParsedPrompt) -> bool:
    """Whether an edit changes more than words in place."""
    address = Property.parse(edit.property)
    if address is None:
        return False
    if address.index is not None:
        return address.name is None
    return address.name == "relation" and not parsed.relation_places
