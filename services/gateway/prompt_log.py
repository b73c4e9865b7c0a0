"""Prompts in log and traces, where LIKENESS_LOG_PROMPTS asks for them. Nothing else of the gateway shows them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from services.common import tracing
from services.common.telemetry import get_logger
from services.gateway.ports import GenerationEvent, GenerationItem, GeneratorPort, ModelInfo, Priority

log = get_logger(__name__)


class LoggedGenerator:
    """A generator whose prompts are logged, whoever sends them: calls, loops and evaluations."""

    def __init__(self, generator: GeneratorPort) -> None:
        self._generator = generator

    def generate(
        self,
        items: Sequence[GenerationItem],
        *,
        model: str,
        request_id: str,
        timeout_seconds: float,
        priority: Priority,
    ) -> AsyncIterator[GenerationEvent]:
        """Logs each prompt once, then generates; errors are the generator's."""
        tracing.current().set(prompts=[item.prompt for item in items])
        for prompt, negative_prompt in dict.fromkeys((item.prompt, item.negative_prompt) for item in items):
            log.info("prompt", prompt=prompt, negative_prompt=negative_prompt, backend_request_id=request_id)
        return self._generator.generate(
            items, model=model, request_id=request_id, timeout_seconds=timeout_seconds, priority=priority
        )

    async def list_models(self) -> list[ModelInfo]:
        """Models of the generator."""
        return await self._generator.list_models()
