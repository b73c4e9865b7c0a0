"""Questions to a judging language model from worker threads, several at a time.

Tries are bounded per question (`services.common.language_model`); after an endpoint gave no answer at all, the
questions still waiting fail with it for a while instead of each spending its own tries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from services.common.errors import UnavailableError
from services.common.language_model import CAUSES_OF_THE_QUESTION, LanguageModel, Question

_AT_ONCE = 4


class ChatModel:
    """A chat model asked from threads without an event loop."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str,
        *,
        timeout_seconds: float = 60.0,
        retry_delay_seconds: float = 0.5,
        pause_seconds: float = 30.0,
    ) -> None:
        self._base_url = base_url
        self.name = model
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds
        self._retry_delay_seconds = retry_delay_seconds
        self._pause_seconds = pause_seconds
        self._paused: tuple[float, UnavailableError | None] = (0.0, None)

    def ask(self, questions: Sequence[Question]) -> list[dict[str, Any] | UnavailableError]:
        """Answers, valid under their schema, or LANGUAGE_MODEL_UNAVAILABLE with the cause, in order."""
        return asyncio.run(self._ask_all(questions))

    async def _ask_all(self, questions: Sequence[Question]) -> list[dict[str, Any] | UnavailableError]:
        slots = asyncio.Semaphore(_AT_ONCE)
        # A model belongs to one event loop, and so to one call.
        model = LanguageModel(
            self._base_url,
            self.name,
            self._api_key,
            timeout_seconds=self._timeout_seconds,
            retry_delay_seconds=self._retry_delay_seconds,
        )
        try:
            return list(await asyncio.gather(*(self._ask(model, slots, question) for question in questions)))
        finally:
            await model.close()

    async def _ask(
        self, model: LanguageModel, slots: asyncio.Semaphore, question: Question
    ) -> dict[str, Any] | UnavailableError:
        async with slots:
            until, failure = self._paused
            if failure is not None and time.monotonic() < until:
                return failure
            try:
                return await model.ask(question)
            except UnavailableError as error:
                if error.metadata.get("cause") not in CAUSES_OF_THE_QUESTION:
                    self._paused = (time.monotonic() + self._pause_seconds, error)
                return error
