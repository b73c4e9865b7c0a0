"""Evaluations of items that the caller streams, for both clients. A broken connection costs neither item nor result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Unpack

from likeness import _evaluation_calls as calls
from likeness import _evaluation_convert as convert
from likeness import _types as t
from likeness._calling import AsyncCalling, Calling
from likeness._errors import LikenessError
from likeness._evaluation_feeding import AsyncFeeder, Feeder
from likeness._evaluation_stream import Outgoing
from likeness._following import Reconnection
from likeness._options import StreamEvaluationOptions

DEFAULT_OUTSTANDING = 512


class EvaluationStreamMethods(Calling):
    """Streams of items for the sync client."""

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
        feeder = Feeder(items, Outgoing(offset, max_outstanding))
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


class AsyncEvaluationStreamMethods(AsyncCalling):
    """Streams of items for the async client."""

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
        feeder = AsyncFeeder(items, Outgoing(offset, max_outstanding))
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
