"""Reads the items of a stream while connections come and go: a thread for the sync client, a task for the async one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress

from google.protobuf.message import Message

from likeness import _types as t
from likeness._errors import LikenessError, Unavailable
from likeness._evaluation_stream import Outgoing, item_message


class Feeder:
    """Reads items in a thread of its own and hands them to whatever connection there is."""

    def __init__(self, items: Iterable[t.EvaluationItem], outgoing: Outgoing) -> None:
        self._items = items
        self._outgoing = outgoing
        self._changed = threading.Condition()
        self._connection = 0
        self._stopped = False
        self._read_all = False
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begins to read."""
        threading.Thread(target=self._run, name="likeness-items", daemon=True).start()

    def requests(self) -> Iterator[Message]:
        """Requests of a new connection, until every item is sent or the connection is over."""
        with self._changed:
            self._connection += 1
            connection = self._connection
            self._outgoing.connected()
        return self._requests(connection)

    def answered(self, offset: int) -> bool:
        """Notes an answer; False if the item had one before."""
        with self._changed:
            self._changed.notify_all()
            return self._outgoing.answered(offset)

    def check(self) -> None:
        """After the end of a stream: raises what the items raised, or Unavailable if one has no answer."""
        with self._changed:
            if not self._outgoing.all_answered:
                raise _ended_early()
            if self._error is not None:
                raise self._error

    def disconnect(self) -> None:
        """Ends the requests of the connection."""
        with self._changed:
            self._connection += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Reads no further."""
        with self._changed:
            self._stopped = True
        self.disconnect()

    def _requests(self, connection: int) -> Iterator[Message]:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._connection != connection or self._outgoing.has_unsent or self._read_all
                )
                if self._connection != connection or not self._outgoing.has_unsent:
                    return
                request = self._outgoing.take()
            yield request

    def _run(self) -> None:
        try:
            for item in self._items:
                message = item_message(item)
                with self._changed:
                    self._outgoing.add(message)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._stopped or self._outgoing.has_room)
                    if self._stopped:
                        return
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._read_all = True
                self._changed.notify_all()


class AsyncFeeder:
    """Reads items in a task of its own and hands them to whatever connection there is."""

    def __init__(self, items: Iterable[t.EvaluationItem] | AsyncIterable[t.EvaluationItem], outgoing: Outgoing) -> None:
        self._items = items
        self._outgoing = outgoing
        self._task: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._read_all = False
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begins to read."""
        self._task = asyncio.create_task(self._run(), name="likeness-items")

    async def requests(self, first: Message) -> AsyncIterator[Message]:
        """Requests of a new connection, until every item is sent."""
        self._outgoing.connected()
        self._opened.clear()
        yield first
        # A stream that is refused while items are sent loses the reason: gRPC then knows only that it cannot write.
        await self._opened.wait()
        while True:
            while self._outgoing.has_unsent:
                yield self._outgoing.take()
            if self._read_all:
                return
            self._more.clear()
            await self._more.wait()

    def opened(self) -> None:
        """The connection takes items."""
        self._opened.set()

    def answered(self, offset: int) -> bool:
        """Notes an answer; False if the item had one before."""
        news = self._outgoing.answered(offset)
        self._room.set()
        return news

    def check(self) -> None:
        """After the end of a stream: raises what the items raised, or Unavailable if one has no answer."""
        if not self._outgoing.all_answered:
            raise _ended_early()
        if self._error is not None:
            raise self._error

    async def stop(self) -> None:
        """Reads no further."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        try:
            async for item in _async(self._items):
                self._outgoing.add(item_message(item))
                self._more.set()
                while not self._outgoing.has_room:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:
            self._error = error
        finally:
            self._read_all = True
            self._more.set()


async def _async(
    items: Iterable[t.EvaluationItem] | AsyncIterable[t.EvaluationItem],
) -> AsyncIterator[t.EvaluationItem]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    for item in items:
        yield item
        # Others get their turn: a list has no await of its own.
        await asyncio.sleep(0)


def _ended_early() -> LikenessError:
    return Unavailable("the stream ended before every item had an answer")
