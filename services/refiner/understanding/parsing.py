"""Reads any prompt: what the vocabulary knows becomes attributes with their places, the rest is kept as it is."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from services.refiner.understanding.lexicon import Category, Form, Lexicon, Match, tokens
from services.refiner.understanding.scene_prompt import SIDES, PromptObject, ScenePrompt, SceneWriter, with_value
from services.refiner.vocabulary import Vocabulary

_FILLERS = frozenset({"a", "an", "the", "and", "of", "with"})
_WHOLE = {Category.BACKGROUND: "background", Category.STYLE: "style", Category.QUALITY: "quality"}
# Emoji, brackets, weights: not words, but something a person meant.
_SIGNS = re.compile(r"[^\w\s,;.!?'’\-]+|_+")
_AND = re.compile(r"\band\b", re.IGNORECASE)


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt as read.

    Attributes:
        text: The prompt, unchanged.
        scene: What was understood.
        places: Matches by property address ("objects[0].color", "style"), where the prompt words the property; a
            relation is worded between each object and the next ("relations[0]" is the first of the text).
        object_spans: Start and end of each object's words, article included, in the order of the scene's objects.
        rest: Phrases that the vocabulary does not know.
        canonical: Whether the text is exactly what the writer writes.
    """

    text: str
    scene: ScenePrompt
    places: Mapping[str, Match] = field(default_factory=dict)
    object_spans: tuple[tuple[int, int], ...] = ()
    rest: tuple[str, ...] = ()
    canonical: bool = False

    @property
    def complete(self) -> bool:
        """Whether every word was understood and at least one attribute is there."""
        return not self.rest and self.scene != ScenePrompt()

    @property
    def relation_places(self) -> tuple[Match, ...]:
        """Wordings of the relation in the order of the text; all are inverse where the text names the row backwards."""
        return tuple(match for match in self.places.values() if match.category is Category.RELATION)


@dataclass
class _Found:
    kind: Match
    modifiers: dict[Category, Match] = field(default_factory=dict)

    def value(self) -> PromptObject:
        size, color = (self.modifiers.get(category) for category in (Category.SIZE, Category.COLOR))
        return PromptObject(self.kind.name, size.name if size else None, color.name if color else None)

    @property
    def start(self) -> int:
        return min([self.kind.start, *(match.start for match in self.modifiers.values())])


class PromptParser:
    """Parses prompts of one vocabulary; never fails."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.lexicon = Lexicon(vocabulary)
        self.writer = SceneWriter(vocabulary)
        # A round reads the same few captions again and again.
        self.parse = lru_cache(maxsize=4096)(self._parse)

    def _parse(self, text: str) -> ParsedPrompt:
        """Attributes, their places and the rest of a prompt."""
        matches = self.lexicon.scan(text)
        used: set[Match] = set()
        places: dict[str, Match] = {}
        objects = _objects(text, matches)
        for item in objects:
            used |= {item.kind, *item.modifiers.values()}
        scene = ScenePrompt()
        for match in matches:
            name = _WHOLE.get(match.category)
            if name and getattr(scene, name) in (None, match.name):
                scene = with_value(scene, name, match.name)
                places.setdefault(name, match)
                used.add(match)
        layout = _layout(text, objects, matches)
        places.update(layout.places)
        used.update(layout.words)
        ordered = layout.objects
        scene = replace(
            scene,
            objects=tuple(item.value() for item in ordered),
            position=layout.position,
            relation=layout.relation,
        )
        for index, item in enumerate(ordered):
            places[f"objects[{index}].kind"] = item.kind
            places.update({f"objects[{index}].{category}": match for category, match in item.modifiers.items()})
        spans = tuple((_with_article(text, item.start), item.kind.end) for item in ordered)
        canonical = scene != ScenePrompt() and self.writer.write(scene) == " ".join(text.lower().split())
        return ParsedPrompt(text, scene, places, spans, _rest(text, used), canonical)


def _objects(text: str, matches: list[Match]) -> list[_Found]:
    """Kinds with the sizes and colors that stand directly before them."""
    objects: list[_Found] = []
    pending: list[Match] = []
    for match in matches:
        if pending and text[pending[-1].end : match.start].strip(" \t\n-"):
            pending = []
        if match.category in (Category.SIZE, Category.COLOR):
            pending = [known for known in pending if known.category is not match.category] + [match]
            continue
        if match.category is Category.KIND:
            objects.append(_Found(match, {known.category: known for known in pending}))
        pending = []
    return objects


@dataclass(frozen=True)
class _Layout:
    """Objects in the order of the scene, where they are, the words that say it, and the places of editable ones."""

    objects: list[_Found]
    position: str | None = None
    relation: str | None = None
    words: tuple[Match, ...] = ()
    places: Mapping[str, Match] = field(default_factory=dict)


def _layout(text: str, objects: list[_Found], matches: list[Match]) -> _Layout:
    positions = [match for match in matches if match.category is Category.POSITION]
    if len(objects) == 1 and positions:
        first = positions[0]
        return _Layout(objects, position=first.name, words=(first,), places={"position": first})
    chain = _chain(text, objects, matches)
    if chain:
        ordered = objects[::-1] if chain[0].form is Form.INVERSE else objects
        places = {f"relations[{index}]": match for index, match in enumerate(chain)}
        return _Layout(ordered, relation=chain[0].name, words=chain, places=places)
    return _by_sides(objects, positions) or _Layout(objects)


def _chain(text: str, objects: list[_Found], matches: list[Match]) -> tuple[Match, ...]:
    """The relations between each object and the next; none unless all are the same and read in one direction."""
    chain: list[Match] = []
    for one, following in itertools.pairwise(objects):
        between = [
            match
            for match in matches
            if match.category is Category.RELATION and one.kind.end <= match.start and match.end <= following.start
        ]
        # "a car left of a cat and left of a moon" says nothing about the cat and the moon.
        if len(between) != 1 or (chain and _AND.search(text, one.kind.end, between[0].start)):
            return ()
        chain += between
    return tuple(chain) if len({(match.name, match.form) for match in chain}) == 1 else ()


def _by_sides(objects: list[_Found], positions: list[Match]) -> _Layout | None:
    """ "A car on the left and a cat on the right" says the same as "a car left of a cat"."""
    if len(objects) < 2 or len(positions) != len(objects):
        return None
    ends = [*(item.start for item in objects[1:]), math.inf]
    if any(not item.kind.end <= match.start <= end for item, match, end in zip(objects, positions, ends, strict=True)):
        return None
    sides = [SIDES[match.name] for match in positions]
    relations = {relation for relation, _ in sides if relation}
    places = [place for _, place in sides]
    if len(relations) != 1 or len(set(places)) != len(places):
        return None
    ordered = [item for _, item in sorted(zip(places, objects, strict=True), key=lambda pair: pair[0])]
    return _Layout(ordered, relation=relations.pop(), words=tuple(positions))


def _with_article(text: str, start: int) -> int:
    """Start of the article before a position, or the position."""
    match = re.search(r"\b(?:a|an|the)\s+$", text[:start], re.IGNORECASE)
    return match.start() if match else start


def _rest(text: str, used: set[Match]) -> tuple[str, ...]:
    """Runs of words that no used match covers and that are more than fillers."""
    runs: list[tuple[int, int]] = []
    open_run = False
    for token in tokens(text):
        covered = any(match.start <= token.start < match.end for match in used)
        if covered or (token.word in _FILLERS and not open_run):
            open_run = False
        elif open_run and not re.search(r"[,;.]", text[runs[-1][1] : token.start]):
            runs[-1] = (runs[-1][0], token.end)
        else:
            runs.append((token.start, token.end))
            open_run = True
    phrases = [text[start:end] for start, end in runs]
    signs = tuple(_SIGNS.findall(text))
    return (*(phrase for phrase in phrases if any(token.word not in _FILLERS for token in tokens(phrase))), *signs)
