"""The refiner: strategies, each of four verbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.gateway.domain import Aspect, Feedback, PromptAttempt, PromptEdit, ProposedPrompt, Tree
from services.gateway.ports.models import ModelInfo


@dataclass(frozen=True)
class StrategyInfo:
    """A strategy of the refiner."""

    id: str
    revision: str
    description: str
    embedded: bool


class RefinerPort(Protocol):
    """The four verbs."""

    async def understand(self, strategy: str, image: bytes, *, request_id: str) -> tuple[Tree, str]:
        """Tree and first prompt."""
        ...

    async def propose(
        self,
        strategy: str,
        *,
        target: bytes,
        tree: Tree | None,
        base_prompt: str,
        round_number: int,
        prompt_count: int,
        aspect: Aspect | None,
        history: Sequence[PromptAttempt],
        seed: int,
        request_id: str,
    ) -> list[ProposedPrompt]:
        """Prompts of a round, at most prompt_count."""
        ...

    async def critique(
        self,
        strategy: str,
        *,
        target: bytes,
        best: bytes,
        best_prompt: str,
        tree: Tree | None,
        aspect: Aspect | None,
        round_number: int,
        request_id: str,
    ) -> tuple[Feedback, float]:
        """Feedback and the critic's agreement, 0..1."""
        ...

    async def revise(
        self, strategy: str, prompt: str, feedback: Feedback, *, request_id: str
    ) -> tuple[str, tuple[PromptEdit, ...]]:
        """Revised prompt and what changed."""
        ...

    async def list_strategies(self) -> list[StrategyInfo]:
        """Strategies of the deployment."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Language and captioning models."""
        ...
