"""How a backend's errors become statuses."""

from __future__ import annotations

import json
from collections.abc import Awaitable

import grpc
import pytest

from services.common.backend_rpcs import answered, handled
from services.common.errors import InternalError, InvalidInputError, LikenessError

METHOD = "likeness.scorer.v1.ScorerService/Embed"


class Context:
    """A call, as Ray Serve hands it over."""

    code: grpc.StatusCode | None = None
    details = ""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return []

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details


async def failing(error: Exception) -> None:
    with handled("scorer", "Embed", "r" * 100):
        raise error


async def fine() -> str:
    with handled("scorer", "Embed"):
        return "answer"


async def status_of(work: Awaitable[None]) -> tuple[grpc.StatusCode | None, dict[str, object]]:
    context = Context()
    with pytest.raises(LikenessError):
        await answered(METHOD, work, context)
    return context.code, json.loads(context.details)


async def test_an_answer_has_no_status_of_its_own() -> None:
    context = Context()
    assert await answered(METHOD, fine(), context) == "answer"
    assert context.code is None and not context.details


async def test_our_errors_keep_their_reason_and_field() -> None:
    code, said = await status_of(failing(InvalidInputError("images[0]", "is no picture")))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said["field"] == "images[0]" and said["reason"] == "INVALID_FIELD"


async def test_what_others_say_stays_inside() -> None:
    code, said = await status_of(failing(RuntimeError("a secret path")))
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(said) and said["message"] == InternalError().message
