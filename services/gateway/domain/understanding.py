"""What is seen in a picture, and words that describe it: trees, prompts, feedback."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Aspect(StrEnum):
    """What a refinement round looks at, in ImageRepainter's order."""

    OVERALL = "overall"
    STYLE = "style"
    COLOR = "color"
    DETAIL = "detail"


@dataclass(frozen=True)
class Feature:
    """A named property of a picture or an object; confidence 0..1, 0 when unknown."""

    name: str
    value: str
    aspect: Aspect | None = None
    confidence: float = 0.0


@dataclass(frozen=True)
class ObjectNode:
    """One object of a picture; questions are (question, answer) pairs."""

    name: str
    features: tuple[Feature, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Relation:
    """subject predicate object, such as car, left of, cat."""

    subject: str
    predicate: str
    object: str


@dataclass(frozen=True)
class Tree:
    """Image Understanding Tree of ImageRepainter."""

    base_caption: str
    overall_features: tuple[Feature, ...] = ()
    objects: tuple[ObjectNode, ...] = ()
    relations: tuple[Relation, ...] = ()


@dataclass(frozen=True)
class PromptEdit:
    """One change of a prompt."""

    property: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Feedback:
    """What should change."""

    text: str
    aspect: Aspect | None = None
    edits: tuple[PromptEdit, ...] = ()


@dataclass(frozen=True)
class ProposedPrompt:
    """A prompt to try and how it came about."""

    text: str
    origin: str
    edits: tuple[PromptEdit, ...] = ()


@dataclass(frozen=True)
class PromptAttempt:
    """A prompt tried before, with its loop score."""

    prompt: str
    round_number: int
    score: float
