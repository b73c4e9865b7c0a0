"""Evaluations of items that the caller streams, for both clients. A broken connection costs neither item nor result."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from itertools import chain
from typing import Unpack

from google.protobuf.message import Message

from likeness import _evaluation_calls as calls
from likeness import _evaluation_convert as convert
from likeness import _types as t
from likeness._call import Call, Result
from likeness._errors import LikenessError, Unavailable
from likeness._evaluation_stream import Outgoing, item_message
from likeness._following import Reconnection
from likeness._options import StreamEvaluationOptions
from likeness._retry import RetryPolicy
from likeness.gateway.v1 import evaluation_service_pb2 as pb

DEFAULT_OUTSTANDING = 512

StreamCall = Call[pb.StreamEvaluationsResponse]


class EvaluationStreamMethods(ABC):
    """Streams of items for the sync client."""

    _retry: RetryPolicy

    @abstractmethod
    def _exchange(self, call: Call[Result], requests: Iterator[Message]) -> Iterator[Result]: ...

    def evaluate_stream(
        self,
        items: Iterable[t.EvaluationItem],
        *,
        evaluation: t.Evaluation | str = "",
        offset: int = 0,
        on_open: Callable[[t.Evaluation], None] | None = None,
        max_outstanding: int = DEFAULT_OUTSTANDING,
        **options: Unpack[StreamEvaluationOptions],
    ) -> Iterator[t.EvaluationResult]:
        """Evaluates items as they come, and yields results as they are ready: out of order, each after it was stored.

            pairs = (EvaluationItem(name, target="target.png", image=name) for name in names)
            for result in client.evaluate_stream(pairs, metrics=["ssim"]):
                print(result.item_id, result.error or result.images[0].scores[0].raw)

        A bad item fails alone: its `error` says why. Memory is constant however many items there are. A broken
        connection is mended. After a crash of the caller, the same items with the `evaluation` go on where it was:
        what has a result is answered from the store. Leaving the iterator cancels what is under way.

        Args:
            items: Items; read from a thread of their own, at most `max_outstanding` ahead of the results.
            evaluation: Evaluation to go on with; a new one if left out.
            offset: Position of the first item in the evaluation.
            on_open: Called once with the evaluation.
            max_outstanding: Most items that are read and have no result.
            options: Those of `StreamEvaluationOptions`.

        Raises:
            InvalidArgument: A value of the options is not allowed.
            NotFound: There is no such evaluation, metric or model.
            FailedPrecondition: The evaluation is cancelled, or somebody else goes on with it.
            OSError: A picture's file cannot be read. This, and whatever `items` raise, comes when the items before it
                are answered.
        """
        call = calls.stream_evaluations(evaluation, options)
        feeder = _Feeder(items, Outgoing(offset, max_outstanding))
        connection, opened = Reconnection(self._retry), False
        feeder.start()
        try:
            while True:
                try:
                    for answer in self._exchange(call, chain([call.request], feeder.requests())):
                        if answer.HasField("opened"):
                            call = calls.stream_evaluations(answer.opened.evaluation.name, {})
                            if on_open is not None and not opened:
                                on_open(convert.evaluation(answer.opened.evaluation))
                            opened = True
                            continue
                        connection.heard()
                        for result in answer.results.results:
                            if feeder.answered(result.offset):
                                yield convert.result(result)
                    feeder.check()
                    return
                except LikenessError as error:
                    delay = connection.delay_seconds(error)
                    if delay is None:
                        raise
                feeder.disconnect()
                time.sleep(delay)
        finally:
            feeder.stop()


class _Feeder:
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


class AsyncEvaluationStreamMethods(ABC):
    """Streams of items for the async client."""

    _retry: RetryPolicy

    @abstractmethod
    def _exchange(self, call: Call[Result], requests: AsyncIterator[Message]) -> AsyncGenerator[Result, None]: ...

    async def evaluate_stream(
        self,
        items: Iterable[t.EvaluationItem] | AsyncIterable[t.EvaluationItem],
        *,
        evaluation: t.Evaluation | str = "",
        offset: int = 0,
        on_open: Callable[[t.Evaluation], None] | None = None,
        max_outstanding: int = DEFAULT_OUTSTANDING,
        **options: Unpack[StreamEvaluationOptions],
    ) -> AsyncGenerator[t.EvaluationResult, None]:
        """As `Client.evaluate_stream`; `items` may be asynchronous.

        To stop at once, close it (`contextlib.aclosing`).
        """
        call = calls.stream_evaluations(evaluation, options)
        feeder = _AsyncFeeder(items, Outgoing(offset, max_outstanding))
        connection, opened = Reconnection(self._retry), False
        feeder.start()
        try:
            while True:
                try:
                    async with aclosing(self._exchange(call, feeder.requests(call.request))) as answers:
                        async for answer in answers:
                            if answer.HasField("opened"):
                                feeder.opened()
                                call = calls.stream_evaluations(answer.opened.evaluation.name, {})
                                if on_open is not None and not opened:
                                    on_open(convert.evaluation(answer.opened.evaluation))
                                opened = True
                                continue
                            connection.heard()
                            for result in answer.results.results:
                                if feeder.answered(result.offset):
                                    yield convert.result(result)
                    feeder.check()
                    return
                except LikenessError as error:
                    delay = connection.delay_seconds(error)
                    if delay is None:
                        raise
                await asyncio.sleep(delay)
        finally:
            await feeder.stop()


class _AsyncFeeder:
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
