"""Asks a language model that sees pictures, at an OpenAI-compatible endpoint, for JSON of a schema.

Runs in a worker thread, several questions at a time. An answer is data, and checked. Tries are bounded per question;
after an endpoint gave no answer at all, the questions still waiting fail with it for a while instead of each spending
its own tries.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema
import openai
from openai import AsyncOpenAI
from PIL import Image

from services.common import images
from services.common.errors import Reason, UnavailableError
from services.common.telemetry import counter, get_logger

MAX_IMAGE_SIDE_PIXELS = 768
_AT_ONCE = 4
_MAX_ANSWER_CHARACTERS = 16_000
_MAX_ANSWER_TOKENS = 800
_RETRIED_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})
_OF_THE_QUESTION = frozenset({"no valid answer", "status 400", "status 413", "status 422"})
"""Causes that say nothing of the next question."""

log = get_logger(__name__)
_retries = counter("likeness_scorer_judge_retries", "Tries of the judging language model that failed.", ("cause",))


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked: instructions, pictures each with the words before it, and the JSON schema of the answer."""

    name: str
    instructions: str
    pictures: Sequence[tuple[str, Image.Image]]
    schema: dict[str, Any]


class ChatModel:
    """A chat model behind HTTP, with a deadline per try and a bounded number of tries."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str,
        *,
        timeout_seconds: float = 60.0,
        attempts: int = 3,
        retry_delay_seconds: float = 0.5,
        pause_seconds: float = 30.0,
    ) -> None:
        self._base_url = base_url
        self.name = model
        self._api_key = api_key or "none"
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._retry_delay_seconds = retry_delay_seconds
        self._pause_seconds = pause_seconds
        self._paused: tuple[float, str] = (0.0, "")

    def ask(self, questions: Sequence[Question]) -> list[dict[str, Any] | UnavailableError]:
        """Answers, valid under their schema, or LANGUAGE_MODEL_UNAVAILABLE with the cause, in order."""
        return asyncio.run(self._ask_all(questions))

    async def _ask_all(self, questions: Sequence[Question]) -> list[dict[str, Any] | UnavailableError]:
        slots = asyncio.Semaphore(_AT_ONCE)
        # A client belongs to one event loop, and so to one call. Retries are ours, so that broken answers and broken
        # connections share one bound.
        async with AsyncOpenAI(
            base_url=self._base_url, api_key=self._api_key, timeout=self._timeout_seconds, max_retries=0
        ) as client:
            return list(await asyncio.gather(*(self._ask(client, slots, question) for question in questions)))

    async def _ask(
        self, client: AsyncOpenAI, slots: asyncio.Semaphore, question: Question
    ) -> dict[str, Any] | UnavailableError:
        async with slots:
            until, cause = self._paused
            if time.monotonic() < until:
                return _unavailable(question, cause)
            content = await asyncio.to_thread(_content, question)
            for attempt in range(self._attempts):
                if attempt:
                    _retries.labels(cause).inc()
                    log.warning("judge_retry", question=question.name, cause=cause, attempt=attempt)
                    await asyncio.sleep(self._retry_delay_seconds * 2 ** (attempt - 1))
                try:
                    completed = self._complete(client, question, content, attempt)
                    return _checked(await asyncio.wait_for(completed, self._timeout_seconds), question.schema)
                except (TimeoutError, openai.APITimeoutError):
                    cause = "timeout"
                except openai.APIStatusError as error:
                    cause = f"status {error.status_code}"
                    if error.status_code not in _RETRIED_STATUS:
                        break
                except (openai.OpenAIError, OSError):
                    cause = "no connection"
                except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
                    cause = "no valid answer"
            if cause not in _OF_THE_QUESTION:
                self._paused = (time.monotonic() + self._pause_seconds, cause)
            return _unavailable(question, cause)

    async def _complete(
        self, client: AsyncOpenAI, question: Question, content: list[dict[str, Any]], attempt: int
    ) -> str:
        messages: Any = [
            {"role": "system", "content": question.instructions},
            {"role": "user", "content": content},
        ]
        answer_format: Any = {
            "type": "json_schema",
            "json_schema": {"name": question.name, "schema": question.schema, "strict": True},
        }
        answer = await client.chat.completions.create(
            model=self.name,
            messages=messages,
            response_format=answer_format,
            temperature=0.0,
            # A broken answer would come again from the same seed.
            seed=attempt,
            max_tokens=_MAX_ANSWER_TOKENS,
        )
        text = answer.choices[0].message.content
        if not isinstance(text, str) or len(text) > _MAX_ANSWER_CHARACTERS:
            raise ValueError("the answer is empty or too long")
        return text


def _unavailable(question: Question, cause: str) -> UnavailableError:
    return UnavailableError(
        Reason.LANGUAGE_MODEL_UNAVAILABLE,
        f"the language model gave no usable answer to {question.name!r} ({cause})",
        retry_after_seconds=5.0,
    )


def _checked(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    answer = json.loads(text)
    try:
        jsonschema.validate(answer, schema)
    except jsonschema.ValidationError as error:
        raise ValueError("the answer does not follow the schema") from error
    if not isinstance(answer, dict):
        raise ValueError("the answer is no object")
    return answer


def _content(question: Question) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for words, rgb in question.pictures:
        parts += [{"type": "text", "text": words}, {"type": "image_url", "image_url": {"url": _data_url(rgb)}}]
    return parts


def _data_url(rgb: Image.Image) -> str:
    small = rgb
    if max(rgb.size) > MAX_IMAGE_SIDE_PIXELS:
        small = rgb.copy()
        small.thumbnail((MAX_IMAGE_SIDE_PIXELS, MAX_IMAGE_SIDE_PIXELS), Image.Resampling.LANCZOS)
    return "data:image/png;base64," + base64.b64encode(images.encode_png(small)).decode()
