"""What groups of methods need of their client: its calls, page by page, and again where a connection is lost."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import TypeVar

from google.protobuf.message import Message

from likeness._call import Call, Result
from likeness._errors import LikenessError
from likeness._following import Reconnection
from likeness._retry import RetryPolicy

Item = TypeVar("Item")


class Calling(ABC):
    """Calls of the sync client."""

    _retry: RetryPolicy
    _timeout_seconds: float

    @abstractmethod
    def _run(self, call: Call[Result]) -> Result:
        """One answer; made again as the call and the policy allow."""

    @abstractmethod
    def _stream(self, call: Call[Result], *, timeout_seconds: float | None = None) -> Iterator[Result]:
        """Many answers, over one connection."""

    @abstractmethod
    def _exchange(self, call: Call[Result], requests: Iterator[Message]) -> Iterator[Result]:
        """Many answers to many requests, over one connection."""

    def _pages(self, call: Callable[[str], Call[tuple[tuple[Item, ...], str]]]) -> Iterator[Item]:
        """Everything of a list, whose call is made from the token of a page."""
        token = ""
        while True:
            page, token = self._run(call(token))
            yield from page
            if not token:
                return

    def _reopened(self, call: Callable[[], Call[Result]], connection: Reconnection) -> Iterator[Result]:
        """Answers of a stream that is opened again where it breaks off, by a call that says where to go on."""
        while True:
            try:
                yield from self._stream(call())
                return
            except LikenessError as error:
                delay = connection.delay_seconds(error)
                if delay is None:
                    raise
                time.sleep(delay)


class AsyncCalling(ABC):
    """Calls of the async client."""

    _retry: RetryPolicy
    _timeout_seconds: float

    @abstractmethod
    async def _run(self, call: Call[Result]) -> Result:
        """One answer; made again as the call and the policy allow."""

    @abstractmethod
    def _stream(self, call: Call[Result], *, timeout_seconds: float | None = None) -> AsyncGenerator[Result, None]:
        """Many answers, over one connection."""

    @abstractmethod
    def _exchange(self, call: Call[Result], requests: AsyncIterator[Message]) -> AsyncGenerator[Result, None]:
        """Many answers to many requests, over one connection."""

    async def _pages(self, call: Callable[[str], Call[tuple[tuple[Item, ...], str]]]) -> AsyncIterator[Item]:
        """Everything of a list, whose call is made from the token of a page."""
        token = ""
        while True:
            page, token = await self._run(call(token))
            for item in page:
                yield item
            if not token:
                return

    async def _reopened(
        self, call: Callable[[], Call[Result]], connection: Reconnection
    ) -> AsyncGenerator[Result, None]:
        """Answers of a stream that is opened again where it breaks off, by a call that says where to go on."""
        while True:
            try:
                async with aclosing(self._stream(call())) as answers:
                    async for answer in answers:
                        yield answer
                return
            except LikenessError as error:
                delay = connection.delay_seconds(error)
                if delay is None:
                    raise
                await asyncio.sleep(delay)
