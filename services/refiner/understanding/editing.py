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
from services.refiner.understanding.scene_prompt import (
    Property,
    ScenePrompt,
    object_with_value,
    with_article,
    with_value,
)

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
        match = self._value(address.name or "", edit.after)
        if match is None:
            return None
        if address.name == "relation":
            if len(scene.objects) != 2:
                return None
            objects = tuple(reversed(scene.objects)) if match.form is Form.INVERSE else scene.objects
            return replace(scene, objects=objects, relation=match.name)
        if address.name == "position" and len(scene.objects) != 1:
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
            return replace(scene, objects=tuple(objects), relation=None, position=None)
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
        if address.name is None:
            return self._parser.parse(edit.after).complete
        return self._value(address.name, edit.after) is not None

    def _value(self, name: str, wording: str) -> Match | None:
        return self._lexicon.value(Category(name), wording)

    def _apply_to_text(self, text: str, edit: PromptEdit) -> str:
        after = " ".join(edit.after.split())[:_MAX_VALUE_CHARACTERS]
        if edit.property == TEXT:
            if edit.before and after:
                found = re.search(rf"(?<!\w){re.escape(edit.before)}(?!\w)", text, re.IGNORECASE)
                return _replace(text, found.start(), found.end(), after) if found else text
            return _append(text, after) if after else _remove_phrase(text, edit.before)
        address = Property.parse(edit.property)
        if address is None:
            return text
        parsed = self._parser.parse(text)
        if address.index is not None:
            return self._object_text(parsed, address, after)
        name = address.name or ""
        place = parsed.places.get(name)
        if not after:
            return _cut(text, place.start, place.end) if place else text
        match = self._value(name, after)
        if place is not None:
            return _replace(text, place.start, place.end, self._like(place, parsed, match, after))
        words = self._writer.phrase(name, match.name) if match and name != "relation" else after
        if name == "position" and len(parsed.object_spans) == 1:
            end = parsed.object_spans[0][1]
            return f"{text[:end]} {words}{text[end:]}"
        return _append(text, words)

    def _like(self, place: Match, parsed: ParsedPrompt, match: Match | None, after: str) -> str:
        """The new value worded in the form of the old one."""
        if match is None:
            return after
        if place.category is Category.RELATION:
            return self._writer.relation_phrase(match.name, inverse=(match.form is Form.INVERSE) != parsed.flipped)
        if place.category is Category.STYLE and place.form is Form.LEAD:
            style = self._vocabulary.style(match.name)
            return style.lead if style else after
        if place.category is Category.BACKGROUND and place.form is Form.BARE:
            return next((term.terse for term in self._vocabulary.backgrounds if term.name == match.name), after)
        return self._writer.phrase(place.category.value, match.name)

    def _object_text(self, parsed: ParsedPrompt, address: Property, after: str) -> str:
        text, index = parsed.text, address.index or 0
        if address.name is None and after:
            return _append(text, after)
        if index >= len(parsed.object_spans):
            return text
        start, end = parsed.object_spans[index]
        if address.name is None:
            # In the middle of a sentence a hole would mangle it: say it in words instead.
            alone = _stands_alone(text, start, end)
            return _cut(text, start, end) if alone else _append(text, f"without {text[start:end]}")
        place = parsed.places.get(f"objects[{index}].{address.name}")
        if not after:
            return _cut(text, place.start, place.end) if place and address.name != "kind" else text
        match = self._value(address.name, after)
        words = self._writer.phrase(address.name, match.name) if match else after
        if place is not None:
            changed = _replace(text, place.start, place.end, words)
        elif address.name == "color":
            kind = parsed.places[f"objects[{index}].kind"]
            changed = _replace(text, kind.start, kind.start, f"{words} ")
        else:
            first = min(match.start for key, match in parsed.places.items() if key.startswith(f"objects[{index}]."))
            changed = _replace(text, first, first, f"{words} ")
        known = self._vocabulary.kind(match.name) if match and address.name == "kind" else None
        color = parsed.places.get(f"objects[{index}].color")
        if known is not None and not known.tintable and color is not None and place is not None:
            changed = changed[: color.start] + changed[color.end :].lstrip()
            changed = fix_article(changed, color.start)
        return changed


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
    return address.name == "relation" and "relation" not in parsed.places


def _append(text: str, words: str) -> str:
    if not words or re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE):
        return text
    head = text.rstrip().rstrip(",;")
    return f"{head}, {words}" if head else words


def _replace(text: str, start: int, end: int, words: str) -> str:
    return fix_article(text[:start] + words + text[end:], start)


def fix_article(text: str, start: int) -> str:
    """Makes the "a" or "an" directly before `start` fit the next word."""
    match = re.search(r"\b(an?)(\s+)$", text[:start], re.IGNORECASE)
    following = re.match(r"\w+", text[start:])
    if match is None or following is None:
        return text
    article = with_article(following[0]).split()[0]
    article = article.capitalize() if match[1][0].isupper() else article
    return text[: match.start(1)] + article + text[match.end(1) :]


def _cut(text: str, start: int, end: int) -> str:
    """Removes text[start:end] with the comma or "and" that it leaves behind; never empties a prompt."""
    before, after = text[:start].rstrip(), text[end:].lstrip()
    before = re.sub(r"(?:\band|\bwith)$", "", before, flags=re.IGNORECASE).rstrip()
    if not before or before.endswith((",", ";")):
        after = re.sub(r"^(?:and\b|with\b|[,;])\s*", "", after, flags=re.IGNORECASE)
    before = before.rstrip(",; ") if not after or after.startswith((",", ";", ".")) else before
    glue = " " if before and after and not after.startswith((",", ";", ".")) else ""
    return fix_article(f"{before}{glue}{after}", len(before) + len(glue)) or text


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is a whole item of a list, so that it can go without breaking a sentence."""
    before, after = text[:start].rstrip().lower(), text[end:].strip().lower()
    opens = not before or re.search(r"(?:[,;]|\band|\bwith)$", before) is not None
    return opens and (not after or re.match(r"[,;.]|and\b", after) is not None)


def _remove_phrase(text: str, words: str) -> str:
    """Removes a phrase where it stands alone between commas; elsewhere it may hold a sentence together."""
    wanted = re.sub(r"^(?:an?|the)\s+", "", words.strip().lower())
    parts = text.split(",")
    kept = [part for part in parts if re.sub(r"^(?:an?|the)\s+", "", part.strip().lower()) != wanted]
    return ",".join(kept).strip() if wanted and 0 < len(kept) < len(parts) else text
