"""Captions of scenes: one canonical rich form ("system language") and many natural ones ("user language")."""

from __future__ import annotations

import random
import re

from world import vocabulary as v
from world.scene import MOST_OBJECTS, Scene, SceneObject

LONGEST = 30
"""Tokens that fit the models' text inputs beside the marks of start and end."""

_POSITIONS = {position.name: position for position in v.POSITIONS}
_RELATIONS = {relation.name: relation for relation in v.RELATIONS}
_BACKGROUNDS = {background.name: background for background in v.BACKGROUNDS}
_STYLES = {style.name: style for style in v.STYLES}
_QUALITIES = {quality.name: quality for quality in v.QUALITIES}
_WORDS = {word.name: word for word in v.COLOURS + v.SIZES}


def with_article(words: str) -> str:
    """``words`` with "a" or "an" in front."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _canonical_object(item: SceneObject) -> str:
    words = [item.size, *([item.colour] if item.colour else []), item.kind]
    return with_article(" ".join(words))


def canonical(scene: Scene) -> str:
    """The system-language caption, naming every attribute in a fixed order.

    Example: ``a large red car left of a small cat on a meadow, pixel art, high quality``. Of three objects, the
    relation stands between each and the next.
    """
    if len(scene.objects) == 1:
        things = f"{_canonical_object(scene.objects[0])} {_POSITIONS[scene.layout].phrase}"
    else:
        things = f" {_RELATIONS[scene.layout].phrase} ".join(map(_canonical_object, scene.objects))
    return ", ".join(
        (
            f"{things} {_BACKGROUNDS[scene.background].phrase}",
            _STYLES[scene.style].phrase,
            _QUALITIES[scene.quality].phrase,
        )
    )


def _pick(rng: random.Random, phrase: str, synonyms: tuple[str, ...], synonym_share: float = 0.4) -> str:
    return rng.choice(synonyms) if synonyms and rng.random() < synonym_share else phrase


def _natural_object(item: SceneObject, rng: random.Random, attribute_share: float, article: bool) -> str:
    words = []
    if rng.random() < attribute_share:
        words.append(_pick(rng, item.size, _WORDS[item.size].synonyms))
    if item.colour and rng.random() < attribute_share:
        words.append(_pick(rng, item.colour, _WORDS[item.colour].synonyms, 0.2))
    words.append(_pick(rng, item.kind, v.KIND_BY_NAME[item.kind].synonyms, 0.2))
    return with_article(" ".join(words)) if article else " ".join(words)


def _natural_things(scene: Scene, rng: random.Random, attribute_share: float, article: bool) -> str:
    """The objects with their position or relation; hurried wordings (no article) mostly drop the latter."""
    items = [_natural_object(item, rng, attribute_share, article) for item in scene.objects]
    say_layout = rng.random() < (0.85 if article else 0.3)
    if len(items) == 1:
        position = _POSITIONS[scene.layout]
        return f"{items[0]} {_pick(rng, position.phrase, position.synonyms)}" if say_layout else items[0]
    if not say_layout:
        rng.shuffle(items)
        return " and ".join((", ".join(items[:-1]), items[-1]))
    relation = _RELATIONS[scene.layout]
    phrase, synonyms = relation.phrase, relation.synonyms
    if rng.random() >= 0.6:
        items.reverse()
        phrase, synonyms = relation.inverse, relation.inverse_synonyms
    things = items[0]
    for item in items[1:]:
        things += f" {_pick(rng, phrase, synonyms)} {item}"
    return things


def length(caption: str) -> int:
    """Tokens of a caption of the world: each word and each comma is one."""
    return len(caption.replace(",", " ,").split())


def natural(scene: Scene, rng: random.Random) -> str:
    """A caption as a person might type it: synonyms, other orders, attributes left out; at most ``LONGEST`` tokens."""
    while True:
        caption = _wording(scene, rng)
        if length(caption) <= LONGEST:
            return caption


def _wording(scene: Scene, rng: random.Random) -> str:
    background, style = _BACKGROUNDS[scene.background], _STYLES[scene.style]
    quality_words = _QUALITIES[scene.quality]
    quality = _pick(rng, quality_words.phrase, quality_words.synonyms, 0.6) if rng.random() < 0.4 else None
    place = _pick(rng, background.phrase, background.synonyms)
    # A plain drawing is what people mean when they name no style, so it is named less often.
    named_style = rng.random() < (0.45 if scene.style == "plain" else 0.9)
    style_tail = _pick(rng, style.phrase, style.synonyms) if named_style else None
    template = rng.random()
    if template < 0.45:
        parts = [f"{_natural_things(scene, rng, 0.85, True)} {place}", style_tail, quality]
    elif template < 0.65:
        parts = [f"{place}, {_natural_things(scene, rng, 0.85, True)}", style_tail, quality]
    elif template < 0.85 and named_style:
        parts = [f"{style.lead} {_natural_things(scene, rng, 0.8, True)} {place}", quality]
        if rng.random() < 0.5:
            parts[0] = with_article(parts[0])
    else:
        parts = [_natural_things(scene, rng, 0.6, False), background.terse, style_tail, quality]
    return ", ".join(part for part in parts if part)


_OBJECT = (
    rf"an? (?P<size{{0}}>{'|'.join(v.SIZE_NAMES)})"
    rf"(?: (?P<colour{{0}}>{'|'.join(v.COLOUR_NAMES)}))?"
    rf" (?P<kind{{0}}>{'|'.join(v.KIND_NAMES)})"
)


def _alternatives(name: str, phrases: list[str]) -> str:
    return f"(?P<{name}>{'|'.join(re.escape(phrase) for phrase in phrases)})"


_CANONICAL = re.compile(
    _OBJECT.format(1)
    + " (?:"
    + _alternatives("position", [p.phrase for p in v.POSITIONS])
    + "|"
    + _alternatives("relation", [r.phrase for r in v.RELATIONS])
    + " "
    + _OBJECT.format(2)
    + "(?: (?P=relation) "
    + _OBJECT.format(3)
    + ")?) "
    + _alternatives("background", [b.phrase for b in v.BACKGROUNDS])
    + r"\s*,\s*"
    + _alternatives("style", [s.phrase for s in v.STYLES])
    + r"\s*,\s*"
    + _alternatives("quality", [q.phrase for q in v.QUALITIES])
)


def _name(table: tuple, phrase: str) -> str:
    return next(entry.name for entry in table if entry.phrase == phrase)


def parse(caption: str) -> Scene | None:
    """The scene of a canonical caption, or None where the text is no canonical caption."""
    match = _CANONICAL.fullmatch(" ".join(caption.lower().split()))
    if match is None:
        return None
    slots = [slot for slot in range(1, MOST_OBJECTS + 1) if match[f"kind{slot}"]]
    layout = _name(v.RELATIONS, match["relation"]) if match["relation"] else _name(v.POSITIONS, match["position"])
    return Scene(
        objects=tuple(SceneObject(match[f"kind{n}"], match[f"size{n}"], match[f"colour{n}"]) for n in slots),
        layout=layout,
        background=_name(v.BACKGROUNDS, match["background"]),
        style=_name(v.STYLES, match["style"]),
        quality=_name(v.QUALITIES, match["quality"]),
    )
