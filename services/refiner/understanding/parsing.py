"""Reads any prompt: what the vocabulary knows becomes attributes with their places, the rest is kept as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from services.refiner.understanding.lexicon import Category, Form, Lexicon, Match, tokens
from services.refiner.understanding.scene_prompt import PromptObject, ScenePrompt, SceneWriter, with_value
from services.refiner.vocabulary import Vocabulary

_FILLERS = frozenset({"a", "an", "the", "and", "of", "with"})
_WHOLE = {Category.BACKGROUND: "background", Category.STYLE: "style", Category.QUALITY: "quality"}
# Emoji, brackets, weights: not words, but something a person meant.
_SIGNS = re.compile(r"[^\w\s,;.!?'’\-]+|_+")
_SIDES = {"left": ("left_of", 0), "right": ("left_of", 1), "top": ("above", 0), "bottom": ("above", 1)}


@dataclass(frozen=True)
class ParsedPrompt:
    """A prompt as read.

    Attributes:
        text: The prompt, unchanged.
        scene: What was understood.
        places: Matches by property address ("objects[0].color", "style"), where the prompt words the property.
        object_spans: Start and end of each object's words, article included, in the order of the scene's objects.
        rest: Phrases that the vocabulary does not know.
        flipped: Whether the text names the two objects in the opposite order of the scene.
        canonical: Whether the text is exactly what the writer writes.
    """

    text: str
    scene: ScenePrompt
    places: Mapping[str, Match] = field(default_factory=dict)
    object_spans: tuple[tuple[int, int], ...] = ()
    rest: tuple[str, ...] = ()
    flipped: bool = False
    canonical: bool = False

    @property
    def complete(self) -> bool:
        """Whether every word was understood and at least one attribute is there."""
        return not self.rest and self.scene != ScenePrompt()


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
        scene = ScenePrompt(tuple(item.value() for item in objects))
        for match in matches:
            name = _WHOLE.get(match.category)
            if name and getattr(scene, name) in (None, match.name):
                scene = with_value(scene, name, match.name)
                places.setdefault(name, match)
                used.add(match)
        scene, flipped = _layout(scene, objects, matches, places, used)
        ordered = list(reversed(objects)) if flipped else objects
        for index, item in enumerate(ordered):
            places[f"objects[{index}].kind"] = item.kind
            places.update({f"objects[{index}].{category}": match for category, match in item.modifiers.items()})
        spans = tuple((_with_article(text, item.start), item.kind.end) for item in ordered)
        canonical = scene != ScenePrompt() and self.writer.write(scene) == " ".join(text.lower().split())
        return ParsedPrompt(text, scene, places, spans, _rest(text, used), flipped, canonical)


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


def _layout(
    scene: ScenePrompt,
    objects: list[_Found],
    matches: list[Match],
    places: dict[str, Match],
    used: set[Match],
) -> tuple[ScenePrompt, bool]:
    positions = [match for match in matches if match.category is Category.POSITION]
    relations = [match for match in matches if match.category is Category.RELATION]
    if len(objects) == 1 and positions:
        places["position"] = positions[0]
        used.add(positions[0])
        return replace(scene, position=positions[0].name), False
    if len(objects) != 2:
        return scene, False
    first, second = objects
    between = [match for match in relations if first.kind.end <= match.start and match.end <= second.start]
    if len(between) == 1:
        places["relation"] = between[0]
        used.add(between[0])
        flipped = between[0].form is Form.INVERSE
        return _ordered(scene, between[0].name, flipped), flipped
    # "a car on the left and a cat on the right" says the same as "a car left of a cat".
    sides = [_SIDES.get(match.name) for match in positions]
    if (
        len(positions) == 2
        and positions[0].end <= second.start
        and positions[1].start >= second.kind.end
        and sides[0] is not None
        and sides[1] is not None
        and sides[0][0] == sides[1][0]
        and sides[0][1] != sides[1][1]
    ):
        used.update(positions)
        flipped = sides[0][1] == 1
        return _ordered(scene, sides[0][0], flipped), flipped
    return scene, False


def _ordered(scene: ScenePrompt, relation: str, flipped: bool) -> ScenePrompt:
    objects = tuple(reversed(scene.objects)) if flipped else scene.objects
    return replace(scene, objects=objects, relation=relation)


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
