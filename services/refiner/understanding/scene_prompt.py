"""A prompt as attributes, and how to write it in the world's canonical form."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from services.refiner.domain import Aspect
from services.refiner.vocabulary import Term, Vocabulary


@dataclass(frozen=True)
class PromptObject:
    """One object by the vocabulary's names; None where the prompt does not say."""

    kind: str
    size: str | None = None
    color: str | None = None


@dataclass(frozen=True)
class ScenePrompt:
    """What a prompt says, by the vocabulary's names; None where it does not say.

    `position` belongs to a single object. `relation` is what each of several objects is to the next.
    """

    objects: tuple[PromptObject, ...] = ()
    position: str | None = None
    relation: str | None = None
    background: str | None = None
    style: str | None = None
    quality: str | None = None


SIDES: dict[str, tuple[str | None, int]] = {
    "left": ("left_of", -1),
    "right": ("left_of", 1),
    "top": ("above", -1),
    "bottom": ("above", 1),
    "center": (None, 0),
}
"""Relation along whose row a position lies (the center of any), and whether it is its start (-1) or its end (1)."""


def with_value(scene: ScenePrompt, name: str, value: str | None) -> ScenePrompt:
    """The scene with one property of the whole picture set."""
    values: dict[str, Any] = {name: value}
    return replace(scene, **values)


def object_with_value(item: PromptObject, name: str, value: str | None) -> PromptObject:
    """The object with one property set."""
    values: dict[str, Any] = {name: value}
    return replace(item, **values)


_OBJECT_PROPERTY = re.compile(r"objects\[(\d{1,2})\](?:\.(kind|size|color))?")
_PLAIN_PROPERTIES = {
    "position": Aspect.OVERALL,
    "relation": Aspect.OVERALL,
    "background": Aspect.OVERALL,
    "style": Aspect.STYLE,
    "quality": Aspect.DETAIL,
}
_OBJECT_ASPECTS = {None: Aspect.OVERALL, "kind": Aspect.OVERALL, "color": Aspect.COLOR, "size": Aspect.DETAIL}


@dataclass(frozen=True)
class Property:
    """A property's address: `objects[index]`, `objects[index].name`, or `name` of the whole picture."""

    name: str | None
    index: int | None = None

    @property
    def aspect(self) -> Aspect:
        """Aspect that the property belongs to."""
        if self.index is not None:
            return _OBJECT_ASPECTS[self.name]
        return _PLAIN_PROPERTIES[self.name or ""]

    @classmethod
    def parse(cls, text: str) -> Property | None:
        """The address in a text such as "objects[0].color", or None if it is none."""
        if text in _PLAIN_PROPERTIES:
            return cls(text)
        match = _OBJECT_PROPERTY.fullmatch(text)
        return cls(match[2], int(match[1])) if match else None


def with_article(words: str) -> str:
    """The words with "a" or "an" in front."""
    return f"{'an' if words[:1].lower() in 'aeiou' else 'a'} {words}"


class SceneWriter:
    """Writes scenes in the canonical form; says nothing about attributes that are None."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        tables: dict[str, tuple[Term, ...]] = {
            "color": vocabulary.colors,
            "size": vocabulary.sizes,
            "position": vocabulary.positions,
            "background": vocabulary.backgrounds,
            "style": vocabulary.styles,
            "quality": vocabulary.qualities,
        }
        self._phrases = {name: {term.name: term.phrase for term in table} for name, table in tables.items()}

    def write(self, scene: ScenePrompt) -> str:
        """The canonical prompt, such as "a large red car left of a small cat on a meadow, pixel art, high quality"."""
        words = [self._things(scene)]
        if scene.background:
            words.append(self.phrase("background", scene.background))
        parts = [" ".join(word for word in words if word)]
        parts += [self.phrase(name, value) for name in ("style", "quality") if (value := getattr(scene, name))]
        return ", ".join(part for part in parts if part)

    def object_words(self, item: PromptObject) -> str:
        """An object with its article: "a large red car"."""
        words = [item.size and self.phrase("size", item.size), item.color and self.phrase("color", item.color)]
        return with_article(" ".join([word for word in words if word] + [item.kind]))

    def phrase(self, name: str, value: str) -> str:
        """Canonical wording of a value; kinds and unknown values are their own wording."""
        return self._phrases.get(name, {}).get(value, value)

    def relation_phrase(self, name: str, *, inverse: bool = False) -> str:
        """Wording of a relation, read from an object to the next or, with `inverse`, to the one before."""
        relation = self._vocabulary.relation(name)
        if relation is None:
            return name
        return relation.inverse if inverse else relation.phrase

    def _things(self, scene: ScenePrompt) -> str:
        objects = [self.object_words(item) for item in scene.objects]
        if len(objects) == 1 and scene.position:
            return f"{objects[0]} {self.phrase('position', scene.position)}"
        if scene.relation:
            return f" {self.relation_phrase(scene.relation)} ".join(objects)
        return " and ".join([", ".join(objects[:-1]), objects[-1]] if len(objects) > 2 else objects)
