"""Reads answers over HTTP no further than they may be long: what comes from outside could be endless."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from httpx2 import AsyncByteStream, Response

PLAIN = {"Accept-Encoding": "identity"}
"""Headers of requests whose answers are bounded: a few compressed bytes can become very many."""


class AnswerTooLongError(ValueError):
    """The body of an answer is longer than it may be, or compressed though nobody asked for that."""


def bounded(max_bytes: int) -> Callable[[Response], Awaitable[None]]:
    """A hook for the responses of a client: reading one's body raises AnswerTooLongError where it gets longer.

    Args:
        max_bytes: Most bytes of a body, whatever its status and its Content-Length.
    """

    async def bound(response: Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise AnswerTooLongError("the answer is compressed")
        assert isinstance(response.stream, AsyncByteStream)
        response.stream = _Bounded(response.stream, max_bytes)

    return bound


class _Bounded(AsyncByteStream):
    def __init__(self, stream: AsyncByteStream, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > self._max_bytes:
                raise AnswerTooLongError(f"the answer has more than {self._max_bytes:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
