"""The four verbs that every strategy is made of. The loop does not know which strategy runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.images import DecodedImage
from services.refiner.domain import (
    Aspect,
    Feedback,
    LanguageModelInfo,
    PromptAttempt,
    ProposedPrompt,
    Revision,
    StrategyInfo,
)
from services.refiner.understanding.tree import UnderstandingTree


@dataclass(frozen=True)
class ProposalRequest:
    """What a round starts from; `prompt_count` is the most prompts wanted."""

    target: DecodedImage
    tree: UnderstandingTree | None
    base_prompt: str
    round_number: int
    prompt_count: int
    aspect: Aspect
    history: Sequence[PromptAttempt]
    seed: int


@dataclass(frozen=True)
class CritiqueRequest:
    """What to compare, and the aspect to look at."""

    target: DecodedImage
    best: DecodedImage
    best_prompt: str
    tree: UnderstandingTree | None
    aspect: Aspect


@dataclass(frozen=True)
class Critique:
    """Feedback, empty when nothing differs, and the agreement of target and picture as the critic sees it, 0..1."""

    feedback: Feedback
    agreement: float


class Strategy(Protocol):
    """Understand, propose, critique, revise. Stateless between calls, except for caches."""

    @property
    def info(self) -> StrategyInfo:
        """What it is."""
        ...

    @property
    def models(self) -> tuple[LanguageModelInfo, ...]:
        """Models under it."""
        ...

    async def understand(self, image: DecodedImage) -> tuple[UnderstandingTree, str]:
        """Tree and first prompt of a picture."""
        ...

    async def propose(self, request: ProposalRequest) -> list[ProposedPrompt]:
        """At most `prompt_count` distinct prompts, the base prompt first; fewer if no more are worth a picture."""
        ...

    async def critique(self, request: CritiqueRequest) -> Critique:
        """How the best picture differs from the target in the aspect."""
        ...

    async def revise(self, prompt: str, feedback: Feedback) -> Revision:
        """The prompt with the feedback applied; the same prompt when the feedback asks for nothing."""
        ...
