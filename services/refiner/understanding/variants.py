"""Scenes that differ from a scene in one property, over the whole vocabulary."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from services.refiner.understanding.scene_prompt import PromptObject, ScenePrompt, with_value
from services.refiner.vocabulary import Vocabulary


def variants(scene: ScenePrompt, vocabulary: Vocabulary) -> Iterator[ScenePrompt]:
    """Every scene one property away; properties that the scene does not say stay unsaid.

    Colors follow the world's rule: tintable things have one in styles with colors, nothing else has any.
    """
    for index, item in enumerate(scene.objects):
        for changed in _objects(item, scene, vocabulary):
            yield replace(scene, objects=(*scene.objects[:index], changed, *scene.objects[index + 1 :]))
    if scene.position is not None:
        yield from (replace(scene, position=term.name) for term in vocabulary.positions if term.name != scene.position)
    if scene.relation is not None:
        # Captions of more objects than can be drawn are a captioner's stutter: their orders are not worth a look each.
        is_drawable = len(scene.objects) <= vocabulary.most_objects
        orders = itertools.permutations(scene.objects) if is_drawable else iter([scene.objects])
        for term, objects in itertools.product(vocabulary.relations, orders):
            if (term.name, objects) != (scene.relation, scene.objects):
                yield replace(scene, objects=objects, relation=term.name)
    for name, terms in (("background", vocabulary.backgrounds), ("quality", vocabulary.qualities)):
        now = getattr(scene, name)
        yield from (with_value(scene, name, term.name) for term in terms if now is not None and term.name != now)
    for style in vocabulary.styles:
        if scene.style is not None and style.name != scene.style:
            choices = [_colors(item, style.has_colors, vocabulary) for item in scene.objects]
            for objects in itertools.product(*choices):
                yield replace(scene, style=style.name, objects=objects)


def _objects(item: PromptObject, scene: ScenePrompt, vocabulary: Vocabulary) -> Iterator[PromptObject]:
    if item.size is not None:
        yield from (replace(item, size=term.name) for term in vocabulary.sizes if term.name != item.size)
    if item.color is not None:
        yield from (replace(item, color=term.name) for term in vocabulary.colors if term.name != item.color)
    style = vocabulary.style(scene.style)
    shown = {other.kind for other in scene.objects}
    for kind in vocabulary.kinds:
        if kind.name not in shown:
            yield from _colors(replace(item, kind=kind.name), style is None or style.has_colors, vocabulary)


def _colors(item: PromptObject, has_colors: bool, vocabulary: Vocabulary) -> list[PromptObject]:
    """The object in every color it may have: its own if it has one, else all; one without color where none fits."""
    kind = vocabulary.kind(item.kind)
    if not has_colors or (kind is not None and not kind.tintable):
        return [replace(item, color=None)]
    if item.color is not None:
        return [item]
    return [replace(item, color=term.name) for term in vocabulary.colors]
