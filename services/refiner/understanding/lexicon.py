"""Finds the vocabulary's words in any text: the longest wording wins, articles do not count.

Bare words ("neon", "sea", "detailed") mean a style, a place or a quality only where they stand alone between commas;
elsewhere ("a sea monster") they may mean anything. Feedback is read with `bare_anywhere`: it is about the picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from services.refiner.vocabulary import Term, Vocabulary

ARTICLES = frozenset({"a", "an", "the"})
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_SPELLINGS = {
    "watercolour": "watercolor",
    "aquarelle": "watercolor",
    "centre": "center",
    "pixelart": "pixel",
    "violett": "violet",
}
_JOINERS = re.compile(r"[\s\-‐‑]*")


class Category(StrEnum):
    """What a word says something about."""

    KIND = "kind"
    COLOR = "color"
    SIZE = "size"
    POSITION = "position"
    RELATION = "relation"
    BACKGROUND = "background"
    STYLE = "style"
    QUALITY = "quality"


class Form(StrEnum):
    """How a value is worded."""

    PHRASE = "phrase"
    LEAD = "lead"
    BARE = "bare"
    INVERSE = "inverse"


@dataclass(frozen=True)
class Token:
    """A word in lower case and where it stands."""

    word: str
    start: int
    end: int


@dataclass(frozen=True)
class Match:
    """A wording of the vocabulary found in a text, at text[start:end]."""

    category: Category
    name: str
    form: Form
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Words of a text, lower case, common spellings unified."""
    found = ((match.group().lower(), match.start(), match.end()) for match in _WORD.finditer(text))
    return [Token(_SPELLINGS.get(word, word), start, end) for word, start, end in found]


def terms(vocabulary: Vocabulary) -> Iterator[tuple[Category, Term]]:
    """All terms of a vocabulary with their category."""
    tables: tuple[tuple[Category, tuple[Term, ...]], ...] = (
        (Category.KIND, vocabulary.kinds),
        (Category.COLOR, vocabulary.colors),
        (Category.SIZE, vocabulary.sizes),
        (Category.POSITION, vocabulary.positions),
        (Category.RELATION, vocabulary.relations),
        (Category.BACKGROUND, vocabulary.backgrounds),
        (Category.STYLE, vocabulary.styles),
        (Category.QUALITY, vocabulary.qualities),
    )
    for category, table in tables:
        for term in table:
            yield category, term


@dataclass(frozen=True)
class _Entry:
    category: Category
    name: str
    form: Form


class Lexicon:
    """All wordings of a vocabulary, by their words without articles."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._entries: dict[tuple[str, ...], _Entry] = {}
        for wording, entry in _wordings(vocabulary):
            key = tuple(token.word for token in tokens(wording) if token.word not in ARTICLES)
            # The first wording wins: phrases and synonyms come before bare names.
            self._entries.setdefault(key, entry)
        self._longest = max(map(len, self._entries))

    def scan(self, text: str, *, bare_anywhere: bool = False) -> list[Match]:
        """Wordings in the order of the text, never overlapping."""
        words = tokens(text)
        matches: list[Match] = []
        index = 0
        while index < len(words):
            found = self._longest_at(text, words, index)
            if found is None or not (bare_anywhere or found[0].form is not Form.BARE or _alone(text, found[0])):
                index += 1
                continue
            matches.append(found[0])
            index = found[1]
        return matches

    def value(self, category: Category, wording: str) -> Match | None:
        """The value that a wording names in a category, or None."""
        matches = [match for match in self.scan(wording, bare_anywhere=True) if match.category is category]
        return matches[0] if len(matches) == 1 else None

    def _longest_at(self, text: str, words: list[Token], start: int) -> tuple[Match, int] | None:
        if words[start].word in ARTICLES:
            return None
        key: tuple[str, ...] = ()
        best: tuple[Match, int] | None = None
        for index in range(start, len(words)):
            if index > start and not _JOINERS.fullmatch(text, words[index - 1].end, words[index].start):
                break
            if words[index].word not in ARTICLES:
                key = (*key, words[index].word)
            if len(key) > self._longest:
                break
            entry = self._entries.get(key)
            if entry is not None and words[index].word not in ARTICLES:
                place = words[start].start, words[index].end
                best = Match(entry.category, entry.name, entry.form, *place), index + 1
        return best


def _alone(text: str, match: Match) -> bool:
    """Whether the match is all that stands between two commas (or the ends)."""
    before = re.split(r"[,;.]", text[: match.start])[-1]
    after = re.split(r"[,;.]", text[match.end :])[0]
    return not after.strip() and (not before.strip() or before.strip().lower() in ARTICLES)


def _wordings(vocabulary: Vocabulary) -> Iterator[tuple[str, _Entry]]:
    for category, term in terms(vocabulary):
        for wording in (term.phrase, *term.synonyms):
            one_word = len(wording.split()) == 1 and category in (Category.STYLE, Category.QUALITY)
            yield wording, _Entry(category, term.name, Form.BARE if one_word else Form.PHRASE)
    for relation in vocabulary.relations:
        for wording in (relation.inverse, *relation.inverse_synonyms):
            yield wording, _Entry(Category.RELATION, relation.name, Form.INVERSE)
        # "on the left of" is a relation, although "on the left" is a position.
        yield f"on the {relation.phrase}", _Entry(Category.RELATION, relation.name, Form.PHRASE)
        yield f"on the {relation.inverse}", _Entry(Category.RELATION, relation.name, Form.INVERSE)
    for style in vocabulary.styles:
        yield style.lead, _Entry(Category.STYLE, style.name, Form.LEAD)
        # "drawing" alone says no style: any picture is called so.
        if style.name in style.lead:
            yield style.lead.removesuffix(" of"), _Entry(Category.STYLE, style.name, Form.BARE)
        yield style.name, _Entry(Category.STYLE, style.name, Form.BARE)
    for background in vocabulary.backgrounds:
        yield background.terse, _Entry(Category.BACKGROUND, background.name, Form.BARE)
        yield background.name, _Entry(Category.BACKGROUND, background.name, Form.BARE)
