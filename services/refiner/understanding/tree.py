"""Image Understanding Tree of ImageRepainter: base caption, overall features, objects with questions, relations."""

from __future__ import annotations

from dataclasses import dataclass

from services.refiner.domain import Aspect


@dataclass(frozen=True)
class Feature:
    """A named property and its value; confidence 0..1, 0 when the model does not say."""

    name: str
    value: str
    aspect: Aspect | None = None
    confidence: float = 0.0


@dataclass(frozen=True)
class QuestionAnswer:
    """A question that was asked of the picture, and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class ObjectNode:
    """One object of the picture."""

    name: str
    features: tuple[Feature, ...] = ()
    questions: tuple[QuestionAnswer, ...] = ()


@dataclass(frozen=True)
class Relation:
    """subject predicate object, such as car, left of, cat."""

    subject: str
    predicate: str
    object: str


@dataclass(frozen=True)
class UnderstandingTree:
    """What is seen in a picture."""

    base_caption: str
    overall_features: tuple[Feature, ...] = ()
    objects: tuple[ObjectNode, ...] = ()
    relations: tuple[Relation, ...] = ()
