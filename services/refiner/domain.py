"""Words of the refiner: aspects, prompts, edits and feedback. Plain values; no transport, no models."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_PROMPT_CHARACTERS = 2000
"""Longest prompt that is taken or given back."""


class Aspect(StrEnum):
    """What a refinement round looks at, in ImageRepainter's order."""

    OVERALL = "overall"
    STYLE = "style"
    COLOR = "color"
    DETAIL = "detail"


def aspect_of_round(round_number: int) -> Aspect:
    """Aspect of a round (from 1): overall, style, color, detail, and round again."""
    aspects = tuple(Aspect)
    return aspects[(round_number - 1) % len(aspects)]


@dataclass(frozen=True)
class PromptEdit:
    """One change of a prompt: `before` is empty for an addition, `after` for a removal."""

    property: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Feedback:
    """What should change, in words and, where the critic can say it exactly, as edits."""

    text: str
    aspect: Aspect | None = None
    edits: tuple[PromptEdit, ...] = ()


@dataclass(frozen=True)
class ProposedPrompt:
    """A prompt to try and how it came about: "base", "synonym", "alternative", "recheck", "caption" or "revision"."""

    text: str
    origin: str
    edits: tuple[PromptEdit, ...] = ()


@dataclass(frozen=True)
class PromptAttempt:
    """A prompt tried before, with its picture's loop score, 0..1, higher is better."""

    prompt: str
    round_number: int
    score: float


@dataclass(frozen=True)
class Revision:
    """A revised prompt and what changed."""

    prompt: str
    edits: tuple[PromptEdit, ...] = ()


@dataclass(frozen=True)
class StrategyInfo:
    """A strategy as the catalogue shows it."""

    id: str
    revision: str
    description: str
    embedded: bool


@dataclass(frozen=True)
class LanguageModelInfo:
    """A captioning or language model as the catalogue shows it; `source` is never an absolute path."""

    id: str
    revision: str
    source: str
    embedded: bool
    license: str
