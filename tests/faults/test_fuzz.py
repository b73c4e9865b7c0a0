"""What the fuzz counts as found: what a gateway says, and nothing that gRPC says for itself."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from reliability import fuzz
from reliability.fuzz import DEFECTS, UNTOLD, UNTOLD_TRIES, Answer, ask, exception_of
from reliability.messages import methods
from tests.likeness.breaking import breaking_server, claiming_server

METHODS = {method.name: method for method in methods()}
UNLIMITED = [("grpc.max_send_message_length", -1)]
TRACEBACK = "Traceback (most recent call last):\n  File\nValueError: no"


async def test_a_status_that_grpc_lost_is_no_internal_of_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "UNTOLD_TRIES", 1)
    # However long a busy machine takes to send, the call is not left.
    monkeypatch.setattr(fuzz, "WATCH_SECONDS", 60.0)
    seen = set()
    async with breaking_server() as address:
        while UNTOLD not in seen:
            async with grpc.aio.insecure_channel(address, options=UNLIMITED) as channel:
                seen.add((await ask(channel, METHODS["StreamEvaluations"], [bytes(10_000_000)] * 3)).status)
    assert seen <= {UNTOLD, "UNAVAILABLE"} and seen <= DEFECTS


async def test_internal_from_the_gateway_is_found_whatever_it_says() -> None:
    async with claiming_server() as address, grpc.aio.insecure_channel(address) as channel:
        answer = await ask(channel, METHODS["GetSession"], [b""])
    assert (answer.status, answer.said) == ("INTERNAL", "Internal error from Core")


@pytest.mark.parametrize(("lost", "status"), [(2, "NOT_FOUND"), (UNTOLD_TRIES, UNTOLD)])
async def test_what_was_lost_is_asked_again(monkeypatch: pytest.MonkeyPatch, lost: int, status: str) -> None:
    answers = iter([*[Answer(UNTOLD)] * lost, Answer("NOT_FOUND")])

    async def call(*_: Any) -> Answer:
        return next(answers)

    monkeypatch.setattr(fuzz, "_call", call)
    assert (await ask(None, METHODS["StreamEvaluations"], [b""])).status == status


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (json.dumps({"event": "rpc_crashed", "traceback": TRACEBACK}), "ValueError: no"),
        (json.dumps({"event": "rpc_failed", "reason": "INVALID_FIELD"}), ""),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ('{"event": "rpc_crashed", "traceback": "Traceback ... TIFFReadDirectory: Warning', None),
        ("TIFFReadDirectory: Warning, unknown field", ""),
        ("", ""),
    ],
)
def test_exceptions_are_found_in_every_kind_of_line(line: str, found: str | None) -> None:
    assert exception_of(line) == (line if found is None else found)
