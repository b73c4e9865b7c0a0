"""The handlers that Serve's proxy runs: cancelled wherever the cancellation of a call meets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from services.cluster.grpc_proxy import ending_with_its_call


class Context:
    """A context whose peer cannot be asked for once the call is over."""

    over = False

    def peer(self) -> str:
        """The client's address."""
        assert not self.over
        return "ipv4:127.0.0.1:1"

    def code(self) -> int:
        """The status code."""
        return 5


class Replica:
    """Stands for Serve's handler: learns of a cancellation only while it waits for the next message."""

    def __init__(self) -> None:
        self.cancelled = False
        self.peer = ""
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()

    async def __call__(self, request: Any, context: Any) -> AsyncGenerator[bytes, None]:
        """Yields the messages as they come."""
        assert request == "request"
        assert context.code() == 5
        while True:
            try:
                message = await self.messages.get()
            except asyncio.CancelledError:
                self.cancelled = True
                self.peer = context.peer()
                raise
            yield message


@pytest.mark.parametrize("messages_left", [0, 3])
async def test_a_call_dropped_while_a_message_is_written_ends_at_the_replica(messages_left: int) -> None:
    replica, context = Replica(), Context()
    call = ending_with_its_call(replica)("request", context)
    for _ in range(1 + messages_left):
        replica.messages.put_nowait(b"message")
    assert await anext(call) == b"message"
    context.over = True
    await call.aclose()
    assert replica.cancelled
    assert replica.peer == "ipv4:127.0.0.1:1"


async def test_a_call_cancelled_while_it_waits_ends_at_the_replica() -> None:
    replica = Replica()
    waiting = asyncio.ensure_future(anext(ending_with_its_call(replica)("request", Context())))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert replica.cancelled


async def test_messages_and_errors_pass() -> None:
    async def handler(request: Any, _context: Any) -> AsyncGenerator[bytes, None]:
        yield request
        raise ValueError("broken")

    call = ending_with_its_call(handler)(b"first", Context())
    assert await anext(call) == b"first"
    with pytest.raises(ValueError, match="broken"):
        await anext(call)
