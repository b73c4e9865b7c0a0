"""Reads a person's feedback on a picture: what the vocabulary knows becomes edits, anything else a phrase to add."""

from __future__ import annotations

import re
from collections.abc import Iterable

from services.refiner.domain import Aspect, PromptEdit
from services.refiner.understanding import feedback_words as cues
from services.refiner.understanding.comparing import aspect_of_edit
from services.refiner.understanding.editing import TEXT
from services.refiner.understanding.feedback_rows import kinds_for_places, moved, swapped
from services.refiner.understanding.lexicon import ARTICLES, Category, Form, Match, tokens
from services.refiner.understanding.parsing import ParsedPrompt, PromptParser
from services.refiner.understanding.rows import RowDraft
from services.refiner.understanding.scene_prompt import PromptObject

_OPPOSITES = {"small": "large", "large": "small", "high": "low", "low": "high"}
_WHOLE = (Category.BACKGROUND, Category.STYLE, Category.QUALITY)


class FeedbackReader:
    """Turns feedback texts into edits of a prompt."""

    def __init__(self, parser: PromptParser) -> None:
        self._parser = parser
        self._lexicon = parser.lexicon
        self._writer = parser.writer
        self._comparisons = [
            (re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), Category(category), value)
            for pattern, category, value in cues.COMPARISONS
        ]

    def read(self, prompt: str, text: str, aspect: Aspect | None = None) -> tuple[PromptEdit, ...]:
        """Edits that the text asks for, restricted to the aspect if one is named.

        Words that are not understood become one edit of the property "text", so that they reach the prompt.
        """
        parsed = self._parser.parse(prompt)
        row = RowDraft(parsed.scene)
        edits: dict[str, PromptEdit] = {}
        for clause in self._clauses(kinds_for_places(parsed.scene, text)):
            for edit in self._read_clause(parsed, row, clause):
                key = f"{edit.property}:{edit.after or edit.before}" if edit.property == TEXT else edit.property
                # "purple, not red" sets a color; the second half must not take it away again.
                if edit.after or key not in edits:
                    edits[key] = edit
        if (edit_of_row := row.edit(self._writer)) is not None:
            edits[edit_of_row.property] = edit_of_row
        wanted = (edit for edit in edits.values() if edit.before != edit.after)
        return tuple(edit for edit in wanted if aspect is None or aspect_of_edit(edit) in (None, aspect))

    def _clauses(self, text: str) -> list[str]:
        """Parts of the text that stand for themselves; "and" divides where both sides say something known."""
        clauses: list[str] = []
        for part in re.split(r"[.,;:!?\n]+", text):
            pieces = re.split(r"\b(?:and then|and|but(?! (?:rather )?not))\b", part)
            if cues.NOT_BUT.search(part) or not all(self._known(piece) or cues.SWAP.search(piece) for piece in pieces):
                pieces = [part]
            clauses += self._rejoined([piece.strip() for piece in pieces if piece.strip()])
        return clauses

    def _rejoined(self, pieces: list[str]) -> list[str]:
        """Pieces of which none lacks what another one says: "swap the car" - "the cat", "add a dog" - "a cat"."""
        clauses: list[str] = []
        for piece in pieces:
            known = self._known(piece)
            if clauses and known and known[0].category is Category.KIND:
                opening = cues.BETWEEN.search(clauses[-1]) or cues.SWAP.search(clauses[-1])
                named = _kinds(self._known(clauses[-1]))
                if opening and sum(match.start >= opening.end() for match in named) == 1:
                    clauses[-1] = f"{clauses[-1]} and {piece}"
                    continue
                if cues.ADD.search(clauses[-1]) and cues.ANY_ONE.match(piece):
                    piece = f"add {piece}"
                elif cues.REMOVE.search(clauses[-1]) and not _unknown_words(piece, known, ARTICLES):
                    piece = f"remove {piece}"
            clauses.append(piece)
        return clauses

    def _known(self, text: str) -> list[Match]:
        """Vocabulary matches and comparisons of a text, in order."""
        matches = self._lexicon.scan(text, bare_anywhere=True)
        for pattern, category, value in self._comparisons:
            for found in pattern.finditer(text):
                if not any(match.start < found.end() and found.start() < match.end for match in matches):
                    matches.append(Match(category, value, Form.BARE, found.start(), found.end()))
        for found in cues.TOO.finditer(text):
            # "too big", "less blurry": the opposite is wanted.
            matches = [
                Match(match.category, _OPPOSITES.get(match.name, match.name), match.form, found.start(), match.end)
                if match.start == found.start("word")
                else match
                for match in matches
            ]
        return sorted(matches, key=lambda match: match.start)

    def _read_clause(self, parsed: ParsedPrompt, row: RowDraft, clause: str) -> list[PromptEdit]:
        known = self._known(clause)
        if cues.SWAP.search(clause) and swapped(row, known):
            return []
        exchange = self._exchange(parsed, row, clause)
        if exchange is not None:
            return exchange
        if not known:
            return self._free_words(parsed, clause)
        removal = cues.REMOVE.search(clause)
        if removal and not cues.TOO.search(clause):
            removed = self._removals(parsed, row, [match for match in known if match.start >= removal.start()])
            if removed:
                return removed
        return self._wishes(parsed, row, clause, known)

    # Exchanges: "X instead of Y", "replace Y with X", "Y should be X", "not Y but X"

    def _exchange(self, parsed: ParsedPrompt, row: RowDraft, clause: str) -> list[PromptEdit] | None:
        for pattern in (cues.NOT_BUT, cues.REPLACE, cues.INSTEAD, cues.SHOULD_BE):
            found = pattern.search(clause)
            if found is None:
                continue
            old, new = self._known(found["old"]), self._known(found["new"])
            if any(match.category is Category.RELATION for match in new):
                continue
            index = _object_index(parsed, old)
            new_kinds = _kinds(new)
            if index is not None and new_kinds and new_kinds[0].name != parsed.scene.objects[index].kind:
                row.rename(index, new_kinds[0].name)
                edits = [self._set_object(parsed, index, Category.KIND, new_kinds[0].name)]
                return edits + self._attributes(parsed, index, new)
            same = [(a, b) for a in old for b in new if a.category is b.category and a.category in _WHOLE]
            if same:
                return [self._set_whole(parsed, match) for _, match in same]
            if index is not None and not new and pattern is not cues.SHOULD_BE:
                word = _content(found["new"])
                if word:
                    row.rename(index, word)
                    return [PromptEdit(f"objects[{index}].kind", parsed.scene.objects[index].kind, word)]
            if not old and (edit := self._unknown_exchange(parsed, found, new, pattern is cues.SHOULD_BE)):
                return [edit]
        return None

    def _unknown_exchange(
        self, parsed: ParsedPrompt, found: re.Match[str], new: list[Match], keeps: bool
    ) -> PromptEdit | None:
        """A change of a word that only the prompt knows: "the dragon should be green"."""
        word = _content(found["old"])
        if not word or not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", parsed.text, re.IGNORECASE):
            return None
        looks = [match for match in new if match.category in (Category.COLOR, Category.SIZE)]
        if looks and len(looks) == len(new):
            words = " ".join(self._writer.phrase(match.category.value, match.name) for match in looks)
            return PromptEdit(TEXT, word, f"{words} {word}")
        replacement = "" if keeps else _content(found["new"])
        return PromptEdit(TEXT, word, replacement) if replacement else None

    # Removals

    def _removals(self, parsed: ParsedPrompt, row: RowDraft, matches: list[Match]) -> list[PromptEdit]:
        index = _object_index(parsed, matches)
        values = [match for match in matches if match.category in (Category.COLOR, Category.SIZE)]
        if index is not None:
            row.remove(index)
            return [PromptEdit(f"objects[{index}]", self._writer.object_words(parsed.scene.objects[index]), "")]
        if _kinds(matches):
            return []
        edits = []
        for position, item in enumerate(parsed.scene.objects):
            for match in values:
                if getattr(item, match.category.value) == match.name:
                    name = f"objects[{position}].{match.category.value}"
                    edits.append(PromptEdit(name, self._writer.phrase(match.category.value, match.name), ""))
        for match in matches:
            if match.category in _WHOLE and getattr(parsed.scene, match.category.value) == match.name:
                phrase = self._writer.phrase(match.category.value, match.name)
                edits.append(PromptEdit(match.category.value, phrase, ""))
        return edits

    # Wishes

    def _wishes(self, parsed: ParsedPrompt, row: RowDraft, clause: str, known: list[Match]) -> list[PromptEdit]:
        edits = [self._set_whole(parsed, match) for match in known if match.category in _WHOLE]
        kinds = _kinds(known)
        index = _object_index(parsed, kinds)
        new_kinds = [match for match in kinds if row.index(match.name) is None]
        is_beside = cues.BETWEEN.search(clause) or any(match.category is Category.RELATION for match in known)
        if new_kinds and (index is None or is_beside):
            return edits + self._new_object(parsed, row, clause, known, new_kinds[0])
        if moved(row, clause, known):
            return edits
        targets = [index] if index is not None else self._unnamed_targets(parsed, known)
        for target in targets:
            edits += self._attributes(parsed, target, known)
        position = next((match for match in known if match.category is Category.POSITION), None)
        if position is not None and row.size == 1:
            before = self._writer.phrase("position", parsed.scene.position or "")
            edits.append(PromptEdit("position", before, self._writer.phrase("position", position.name)))
        elif position is not None and kinds and row.put(row.index(kinds[0].name), position.name):
            return edits
        if edits or not _unknown_words(clause, known):
            return edits
        return self._free_words(parsed, clause)

    def _unnamed_targets(self, parsed: ParsedPrompt, known: Iterable[Match]) -> list[int]:
        """Objects meant by "bigger" (all) or "make it blue" (those that have or can have a color, else the first)."""
        objects = parsed.scene.objects
        if all(match.category is not Category.COLOR for match in known):
            return list(range(len(objects)))
        kinds = [self._parser.vocabulary.kind(item.kind) for item in objects]
        colored = [index for index, item in enumerate(objects) if item.color]
        tintable = [index for index, kind in enumerate(kinds) if kind and kind.tintable]
        return (colored or tintable or list(range(len(objects))))[:1]

    def _new_object(
        self, parsed: ParsedPrompt, row: RowDraft, clause: str, known: list[Match], kind: Match
    ) -> list[PromptEdit]:
        objects = parsed.scene.objects
        size, color = (
            next((match.name for match in known if match.category is category), None)
            for category in (Category.SIZE, Category.COLOR)
        )
        group = _group(self._parser, kind.name)
        alike = [index for index, item in enumerate(objects) if _group(self._parser, item.kind) == group]
        replaced = 0 if len(objects) == 1 else alike[0] if len(alike) == 1 else None
        if cues.ADD.search(clause) or replaced is None or _object_index(parsed, known) is not None:
            words = self._writer.object_words(PromptObject(kind.name, size, color))
            index = row.add(kind.name)
            position = next((match for match in known if match.category is Category.POSITION), None)
            # "a cat on its right", "on the left": a side of what is there already.
            if not moved(row, clause, known) and position is not None:
                row.put(index, position.name)
            return [PromptEdit(f"objects[{index}]", "", words)]
        row.rename(replaced, kind.name)
        edit = self._set_object(parsed, replaced, Category.KIND, kind.name)
        return [edit, *self._attributes(parsed, replaced, known)]

    def _attributes(self, parsed: ParsedPrompt, index: int, known: Iterable[Match]) -> list[PromptEdit]:
        return [
            self._set_object(parsed, index, match.category, match.name)
            for match in known
            if match.category in (Category.COLOR, Category.SIZE)
        ]

    # Edits

    def _set_whole(self, parsed: ParsedPrompt, match: Match) -> PromptEdit:
        name = match.category.value
        before = self._writer.phrase(name, getattr(parsed.scene, name) or "")
        return PromptEdit(name, before, self._writer.phrase(name, match.name))

    def _set_object(self, parsed: ParsedPrompt, index: int, category: Category, value: str) -> PromptEdit:
        name = category.value
        before = self._writer.phrase(name, getattr(parsed.scene.objects[index], name) or "")
        return PromptEdit(f"objects[{index}].{name}", before, self._writer.phrase(name, value))

    def _free_words(self, parsed: ParsedPrompt, clause: str) -> list[PromptEdit]:
        """An edit that adds (or takes out) the words themselves."""
        removal = cues.REMOVE.match(clause.strip())
        if removal:
            words = _content(clause.strip()[removal.end() :])
            listed = {_content(part).lower() for part in parsed.text.split(",")}
            if words:
                return [
                    PromptEdit(TEXT, words, "") if words.lower() in listed else PromptEdit(TEXT, "", f"without {words}")
                ]
            return []
        words = _content(clause)
        return [PromptEdit(TEXT, "", words)] if words else []


def _object_index(parsed: ParsedPrompt, matches: Iterable[Match]) -> int | None:
    """The prompt's object that the first fitting kind names."""
    for match in matches:
        for index, item in enumerate(parsed.scene.objects):
            if match.category is Category.KIND and item.kind == match.name:
                return index
    return None


def _kinds(matches: Iterable[Match]) -> list[Match]:
    return [match for match in matches if match.category is Category.KIND]


def _unknown_words(clause: str, known: Iterable[Match], fillers: frozenset[str] = cues.FILLERS) -> bool:
    """Whether a clause says more than the known words and fillers."""
    spans = [(match.start, match.end) for match in known]
    return any(
        token.word not in fillers and not any(start <= token.start < end for start, end in spans)
        for token in tokens(clause)
    )


def _group(parser: PromptParser, kind: str) -> str:
    known = parser.vocabulary.kind(kind)
    return known.group if known else ""


def _content(clause: str) -> str:
    """The words of a wish without its lead-in; empty if nothing is left."""
    words = re.sub(r"^(?:an?|the)\s+", "", cues.LEAD_IN.sub("", clause.strip()).strip(), flags=re.IGNORECASE)
    return words if any(token.word not in cues.FILLERS for token in tokens(words)) else ""
