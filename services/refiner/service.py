"""What the refiner does, behind any transport: checks requests, decodes pictures, calls the strategy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.common import images
from services.common.errors import InvalidInputError
from services.common.images import DecodedImage
from services.refiner.domain import (
    MAX_PROMPT_CHARACTERS,
    Aspect,
    Feedback,
    LanguageModelInfo,
    PromptAttempt,
    ProposedPrompt,
    Revision,
    StrategyInfo,
    aspect_of_round,
)
from services.refiner.strategies.base import Critique, CritiqueRequest, ProposalRequest
from services.refiner.strategies.registry import Registry
from services.refiner.understanding.tree import UnderstandingTree

MAX_PROMPTS = 64
_MAX_FEEDBACK_CHARACTERS = 2000
_MAX_EDITS = 64


class RefinerService:
    """The five calls of the refiner. Raises LikenessError with the field at fault."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def understand(self, strategy: str, image: bytes) -> tuple[UnderstandingTree, str]:
        """Tree and first prompt of an encoded picture."""
        chosen = self._registry.get(strategy)
        return await chosen.understand(await _decode(image, "image"))

    async def propose(
        self,
        strategy: str,
        *,
        target: bytes,
        tree: UnderstandingTree | None,
        base_prompt: str,
        round_number: int,
        prompt_count: int,
        aspect: Aspect | None,
        history: Sequence[PromptAttempt],
        seed: int,
    ) -> list[ProposedPrompt]:
        """Prompts of a round, at most `prompt_count`; no aspect means the round's."""
        chosen = self._registry.get(strategy)
        _check_prompt(base_prompt, "base_prompt")
        _check_round(round_number)
        if not 1 <= prompt_count <= MAX_PROMPTS:
            raise InvalidInputError("prompt_count", f"{prompt_count} is out of range", allowed=f"1 to {MAX_PROMPTS}")
        request = ProposalRequest(
            target=await _decode(target, "target"),
            tree=tree,
            base_prompt=base_prompt,
            round_number=round_number,
            prompt_count=prompt_count,
            aspect=aspect or aspect_of_round(round_number),
            history=history,
            seed=seed,
        )
        return await chosen.propose(request)

    async def critique(
        self,
        strategy: str,
        *,
        target: bytes,
        best: bytes,
        best_prompt: str,
        tree: UnderstandingTree | None,
        aspect: Aspect | None,
        round_number: int,
    ) -> Critique:
        """Feedback on the best picture; no aspect means the round's."""
        chosen = self._registry.get(strategy)
        _check_prompt(best_prompt, "best_prompt")
        _check_round(round_number)
        request = CritiqueRequest(
            target=await _decode(target, "target"),
            best=await _decode(best, "best"),
            best_prompt=best_prompt,
            tree=tree,
            aspect=aspect or aspect_of_round(round_number),
        )
        return await chosen.critique(request)

    async def revise(self, strategy: str, prompt: str, feedback: Feedback) -> Revision:
        """The prompt with the feedback applied."""
        chosen = self._registry.get(strategy)
        _check_prompt(prompt, "prompt")
        if len(feedback.text) > _MAX_FEEDBACK_CHARACTERS:
            problem = f"the text has {len(feedback.text):,} characters"
            raise InvalidInputError("feedback.text", problem, allowed=f"at most {_MAX_FEEDBACK_CHARACTERS:,}")
        if len(feedback.edits) > _MAX_EDITS:
            raise InvalidInputError(
                "feedback.edits", f"there are {len(feedback.edits)}", allowed=f"at most {_MAX_EDITS}"
            )
        return await chosen.revise(prompt, feedback)

    def strategies(self) -> list[StrategyInfo]:
        """Strategies of the deployment."""
        return [strategy.info for strategy in self._registry.all()]

    def models(self) -> list[LanguageModelInfo]:
        """Captioning and language models of the deployment, each once."""
        models = {model.id: model for strategy in self._registry.all() for model in strategy.models}
        return list(models.values())


async def _decode(data: bytes, field: str) -> DecodedImage:
    return await asyncio.to_thread(images.decode, data, field=field)


def _check_prompt(prompt: str, field: str) -> None:
    allowed = f"1 to {MAX_PROMPT_CHARACTERS:,} characters"
    if not prompt.strip():
        raise InvalidInputError(field, "the prompt is empty", allowed=allowed)
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise InvalidInputError(field, f"the prompt has {len(prompt):,} characters", allowed=allowed)


def _check_round(round_number: int) -> None:
    if round_number < 1:
        raise InvalidInputError("round_number", f"{round_number} is out of range", allowed="1 or more")
