"""Asks a language model at an OpenAI-compatible endpoint for JSON of a schema; its answers are data, and checked."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema
import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from PIL import Image

from services.common import images, tracing
from services.common.bounded_http import PLAIN, bounded
from services.common.errors import Reason, UnavailableError
from services.common.telemetry import counter, get_logger

_MAX_ANSWER_CHARACTERS = 64_000
_MAX_BODY_BYTES = 1 << 20
"""Of an HTTP answer: so many characters, each escaped, and what is around them."""
_MAX_ANSWER_TOKENS = 2000
MAX_IMAGE_SIDE_PIXELS = 768
_SEED_MASK = 2**31 - 1
_RETRIED_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})
CAUSES_OF_THE_QUESTION = frozenset({"no valid answer", "status 400", "status 413", "status 422"})
"""Causes that say nothing of the next question."""

log = get_logger(__name__)
_retries = counter("likeness_language_model_retries", "Tries of the language model that failed, by cause.", ("cause",))


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked: instructions, texts and pictures in the order they are shown, and the answer's JSON schema."""

    name: str
    instructions: str
    content: Sequence[str | Image.Image]
    schema: dict[str, Any]
    temperature: float = 0.0
    seed: int = 0


class LanguageModel:
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
    ) -> None:
        """Connects with the first question, to whose event loop it belongs from then on.

        Args:
            base_url: Endpoint, up to and with its version.
            model: Model name at the endpoint.
            api_key: Empty for an endpoint without one.
            timeout_seconds: Deadline of one try.
            attempts: Most tries of a question.
            retry_delay_seconds: Before the second try; doubled before each further one.
        """
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            timeout=timeout_seconds,
            # Retries are ours, so that broken answers and broken connections share one bound.
            max_retries=0,
            default_headers=PLAIN,
            http_client=DefaultAsyncHttpxClient(event_hooks={"response": [bounded(_MAX_BODY_BYTES)]}),
        )
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._retry_delay_seconds = retry_delay_seconds

    @property
    def name(self) -> str:
        """Model name at the endpoint."""
        return self._model

    async def ask(self, question: Question) -> dict[str, Any]:
        """The answer, valid under the question's schema.

        Raises:
            UnavailableError: LANGUAGE_MODEL_UNAVAILABLE: no answer, a refusal, or no valid JSON after all tries; its
                metadata has the cause.
        """
        content = await asyncio.to_thread(_content, question)
        cause = "no answer"
        attributes = {"likeness.model": self._model, "likeness.question": question.name}
        for attempt in range(self._attempts):
            if attempt:
                _retries.labels(cause).inc()
                log.warning("language_model_retry", question=question.name, cause=cause, attempt=attempt)
                await asyncio.sleep(self._retry_delay_seconds * 2 ** (attempt - 1))
            try:
                # Not wait_for, which may lose a cancellation in Python 3.11.
                async with asyncio.timeout(self._timeout_seconds):
                    with tracing.span("language model", attributes=attributes):
                        text = await self._complete(question, content, attempt)
                return _checked(text, question.schema)
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
        raise UnavailableError(
            Reason.LANGUAGE_MODEL_UNAVAILABLE,
            f"the language model gave no usable answer to {question.name!r} ({cause})",
            metadata={"cause": cause},
            retry_after_seconds=5.0,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _complete(self, question: Question, content: list[dict[str, Any]], attempt: int) -> str:
        messages: Any = [
            {"role": "system", "content": question.instructions},
            {"role": "user", "content": content},
        ]
        answer_format: Any = {
            "type": "json_schema",
            "json_schema": {"name": question.name, "schema": question.schema, "strict": True},
        }
        answer = await self._client.chat.completions.create(
            model=self._model,
            messages=messages,
            response_format=answer_format,
            temperature=question.temperature,
            # A broken answer would come again from the same seed.
            seed=(question.seed + attempt) & _SEED_MASK,
            max_tokens=_MAX_ANSWER_TOKENS,
        )
        text = answer.choices[0].message.content
        if not isinstance(text, str) or len(text) > _MAX_ANSWER_CHARACTERS:
            raise ValueError("the answer is empty or too long")
        return text


def _checked(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = json.loads(text, parse_constant=_no_number)
        jsonschema.validate(answer, schema)
    except jsonschema.ValidationError as error:
        raise ValueError("the answer does not follow the schema") from error
    if not isinstance(answer, dict):
        raise ValueError("the answer is no object")
    return answer


def _no_number(name: str) -> None:
    # Python reads NaN and Infinity, which JSON does not have and which are in every range of a schema.
    raise ValueError(f"{name} is no JSON")


def _content(question: Question) -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": _data_url(part)}}
        for part in question.content
    ]


def _data_url(rgb: Image.Image) -> str:
    small = rgb
    if max(rgb.size) > MAX_IMAGE_SIDE_PIXELS:
        small = rgb.copy()
        small.thumbnail((MAX_IMAGE_SIDE_PIXELS, MAX_IMAGE_SIDE_PIXELS), Image.Resampling.LANCZOS)
    return "data:image/png;base64," + base64.b64encode(images.encode_png(small)).decode()
