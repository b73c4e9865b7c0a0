"""Builds the Image Understanding Tree from weighted captions: questions per object, confidences by agreement."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from services.refiner.domain import Aspect
from services.refiner.understanding.base import Description, WeightedCaption
from services.refiner.understanding.parsing import ParsedPrompt, PromptParser
from services.refiner.understanding.scene_prompt import PromptObject, ScenePrompt
from services.refiner.understanding.tree import Feature, ObjectNode, QuestionAnswer, Relation, UnderstandingTree

_QUESTIONS = {"color": "what color is the {kind}?", "size": "how large is the {kind}?"}
_ASPECTS = {"color": Aspect.COLOR, "size": Aspect.DETAIL}


class TreeBuilder:
    """Makes descriptions of weighted captions."""

    def __init__(self, parser: PromptParser) -> None:
        self._parser = parser
        self._writer = parser.writer

    def describe(self, captions: Sequence[WeightedCaption]) -> Description:
        """The description of the most probable caption; the others give the confidences.

        Args:
            captions: At least one, most probable first, probabilities summing to 1.
        """
        readings = [(self._parser.parse(caption.text), caption.probability) for caption in captions]
        best = readings[0][0]
        prompt = self._writer.write(best.scene) if best.complete else best.text
        return Description(tuple(captions), self._tree(best, readings), prompt)

    def _tree(self, best: ParsedPrompt, readings: Sequence[tuple[ParsedPrompt, float]]) -> UnderstandingTree:
        scene = best.scene
        scenes = [(reading.scene, share) for reading, share in readings]
        overall = []
        for name, aspect in (("background", Aspect.OVERALL), ("style", Aspect.STYLE), ("quality", Aspect.DETAIL)):
            value = getattr(scene, name)
            if value is not None:
                confidence = _share(scenes, lambda other, name=name, value=value: getattr(other, name) == value)  # type: ignore[misc]
                overall.append(Feature(name, self._writer.phrase(name, value), aspect, confidence))
        if scene.objects:
            count = len(scene.objects)
            confidence = _share(scenes, lambda other: len(other.objects) == count)
            overall.append(Feature("object count", str(count), Aspect.OVERALL, confidence))
        relations: list[Relation] = []
        if scene.relation:
            words = self._writer.relation_phrase(scene.relation)
            relations = [Relation(one.kind, words, other.kind) for one, other in itertools.pairwise(scene.objects)]
        objects = tuple(self._object(item, scene, scenes) for item in scene.objects)
        return UnderstandingTree(best.text, tuple(overall), objects, tuple(relations))

    def _object(
        self, item: PromptObject, scene: ScenePrompt, scenes: Sequence[tuple[ScenePrompt, float]]
    ) -> ObjectNode:
        features = [Feature("kind", item.kind, Aspect.OVERALL, _share(scenes, lambda other: _has(other, item.kind)))]
        questions = [QuestionAnswer("what is it?", item.kind)]
        for name, question in _QUESTIONS.items():
            value = getattr(item, name)
            if value is None:
                continue
            wanted = {name: value}
            confidence = _share(scenes, lambda other, wanted=wanted: _has(other, item.kind, **wanted))  # type: ignore[misc]
            words = self._writer.phrase(name, value)
            features.append(Feature(name, words, _ASPECTS[name], confidence))
            questions.append(QuestionAnswer(question.format(kind=item.kind), words))
        if scene.position:
            words = self._writer.phrase("position", scene.position)
            confidence = _share(scenes, lambda other: other.position == scene.position)
            features.append(Feature("position", words, Aspect.OVERALL, confidence))
            questions.append(QuestionAnswer(f"where is the {item.kind}?", words))
        return ObjectNode(item.kind, tuple(features), tuple(questions))


def _has(scene: ScenePrompt, kind: str, **values: str) -> bool:
    return any(
        item.kind == kind and all(getattr(item, name) == value for name, value in values.items())
        for item in scene.objects
    )


def _share(scenes: Sequence[tuple[ScenePrompt, float]], holds: Callable[[ScenePrompt], bool]) -> float:
    return min(1.0, sum(share for scene, share in scenes if holds(scene)))
