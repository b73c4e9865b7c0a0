"""What a model or a person says of a picture, and how prompts change for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Aspect(StrEnum):
    """Part of a picture that a round looks at, in ImageRepainter's order."""

    OVERALL = "overall"
    STYLE = "style"
    COLOR = "color"
    DETAIL = "detail"


@dataclass(frozen=True)
class Feature:
    """A named property, such as style = pixel art; confidence 0..1, 0 when the model does not say."""

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
    """Image Understanding Tree of ImageRepainter: caption, overall features, objects, relations."""

    base_caption: str
    overall_features: tuple[Feature, ...] = ()
    objects: tuple[ObjectNode, ...] = ()
    relations: tuple[Relation, ...] = ()


@dataclass(frozen=True)
class PromptEdit:
    """One change of a prompt; an empty `before` is an addition, an empty `after` a removal."""

    property: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Feedback:
    """What should change, said by a person or found by comparing two pictures."""

    text: str
    aspect: Aspect | None = None
    edits: tuple[PromptEdit, ...] = ()


@dataclass(frozen=True)
class RevisedPrompt:
    """A prompt revised by feedback, ready for `submit_prompt` or as the first prompt of a loop."""

    text: str
    edits: tuple[PromptEdit, ...] = ()
