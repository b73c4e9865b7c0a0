from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from PIL import Image

from services.common.errors import Reason, UnavailableError
from services.common.language_model import LanguageModel, Question
from services.refiner.language import schemas
from tests.refiner.helpers import picture
from tests.refiner.language.chat_server import Answer, ChatServer, Endless, Raw, Slow, Status, chat_server

GOOD: Answer = {"prompt": "a cat"}
TEXT = '{"tree": {}}'
QUESTION = Question("write", "Write a prompt.", (TEXT,), schemas.PROMPT)


@asynccontextmanager
async def _model(
    script: list[Answer], timeout_seconds: float = 60.0
) -> AsyncIterator[tuple[LanguageModel, ChatServer]]:
    async with chat_server(script) as server:
        model = LanguageModel(
            server.base_url, "test", "secret-key", timeout_seconds=timeout_seconds, retry_delay_seconds=0.001
        )
        try:
            yield model, server
        finally:
            await model.close()


async def test_asks_for_json_of_the_schema() -> None:
    async with _model([GOOD]) as (model, server):
        question = replace(QUESTION, content=(TEXT, picture((9, 8, 7)).rgb), temperature=0.5, seed=2**63 + 11)
        assert await model.ask(question) == GOOD
    request = server.requests[0]
    assert request["model"] == "test" and request["temperature"] == 0.5
    assert request["seed"] == 11
    assert request["response_format"]["json_schema"]["schema"] == schemas.PROMPT
    assert server.headers[0]["Authorization"] == "Bearer secret-key"
    system, user = request["messages"]
    assert (system["role"], system["content"]) == ("system", "Write a prompt.")
    text, image = user["content"]
    assert text["text"] == '{"tree": {}}'
    sent = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].partition(",")[2])))
    assert sent.size == (16, 16) and sent.getpixel((0, 0)) == (9, 8, 7)


async def test_large_pictures_are_made_smaller() -> None:
    large = Image.new("RGB", (1600, 800))
    async with _model([GOOD]) as (model, server):
        await model.ask(replace(QUESTION, content=(TEXT, large)))
    url = server.requests[0]["messages"][1]["content"][1]["image_url"]["url"]
    assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size == (768, 384)


BROKEN: dict[str, Answer] = {
    "no JSON": "I would rather chat.",
    "cut off": '{"prompt": "a c',
    "wrong schema": {"text": "a cat"},
    "wrong type": {"prompt": 7},
    "more than asked": {"prompt": "a cat", "run": "rm"},
    "a list": '["a cat"]',
    "empty": "",
    "too long a prompt": {"prompt": "x" * 1501},
    "huge": "[" * 100_000,
    "deep": "[" * 30_000 + "]" * 30_000,
    "NaN": '{"prompt": NaN}',
    "no choices": Raw('{"id": "1", "object": "chat.completion", "choices": []}'),
    "no completion": Raw('"hello"'),
    "no JSON body": Raw("<html>"),
    "server error": Status(500),
    "overloaded": Status(429),
    "gateway": Status(503, "<html>"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_answers_are_asked_again(broken: Answer) -> None:
    async with _model([broken, GOOD]) as (model, server):
        assert await model.ask(QUESTION) == GOOD
    assert [request["seed"] for request in server.requests] == [0, 1]


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_tries_are_bounded(broken: Answer) -> None:
    async with _model([broken]) as (model, server):
        with pytest.raises(UnavailableError) as caught:
            await model.ask(QUESTION)
    assert len(server.requests) == 3
    assert caught.value.reason is Reason.LANGUAGE_MODEL_UNAVAILABLE
    assert len(caught.value.message) < 200
    assert "secret-key" not in caught.value.message and "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
async def test_refusals_are_not_asked_again(code: int) -> None:
    async with _model([Status(code)]) as (model, server):
        with pytest.raises(UnavailableError, match=f"status {code}"):
            await model.ask(QUESTION)
    assert len(server.requests) == 1


async def test_slow_answers_end_at_the_timeout() -> None:
    async with _model([GOOD]) as (model, _):
        # The first question of a process takes longer: it imports what all need.
        assert await model.ask(QUESTION) == GOOD
    async with _model([Slow(600.0)], timeout_seconds=0.5) as (model, server):
        with pytest.raises(UnavailableError, match="timeout"):
            await model.ask(QUESTION)
    assert len(server.requests) == 3


def completion(padding: int) -> str:
    """A good answer in a body with so many characters around it."""
    message = {"role": "assistant", "content": '{"prompt": "a cat"}'}
    return json.dumps({"choices": [{"index": 0, "message": message}], "padding": "x" * padding})


async def test_a_body_is_read_no_further_than_it_may_be_long() -> None:
    async with _model([Raw(completion(900_000))]) as (model, _):
        assert await model.ask(QUESTION) == GOOD
    # A few compressed kilobytes can be gigabytes: nobody asked for them.
    for body in (Raw(completion(1_100_000)), Raw(completion(1_000), gzipped=True)):
        async with _model([body]) as (model, server):
            with pytest.raises(UnavailableError, match="no valid answer"):
                await model.ask(QUESTION)
        assert server.headers[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("code", [200, 500])
async def test_a_body_without_an_end_is_left(code: int) -> None:
    async with _model([Endless(code)]) as (model, server):
        # Not "timeout": it is left long before.
        with pytest.raises(UnavailableError, match="no valid answer"):
            await model.ask(QUESTION)
        assert len(server.requests) == 3
        while server.cut_off < 3:
            await asyncio.sleep(0.01)


async def test_an_endpoint_that_is_not_there() -> None:
    async with chat_server([GOOD]) as server:
        gone = server.base_url
    model = LanguageModel(gone, "test", "", retry_delay_seconds=0.001)
    with pytest.raises(UnavailableError, match="no connection") as caught:
        await model.ask(QUESTION)
    assert caught.value.retry_after_seconds
    await model.close()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_numbers_that_json_does_not_have_are_no_answer(number: str) -> None:
    # A range of a schema would let NaN through.
    schema = {"type": "object", "properties": {"agreement": {"type": "number", "minimum": 0}}}
    async with _model([f'{{"agreement": {number}}}', {"agreement": 0.5}]) as (model, server):
        assert await model.ask(replace(QUESTION, schema=schema)) == {"agreement": 0.5}
    assert len(server.requests) == 2
