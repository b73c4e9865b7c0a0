"""Talks to StreamEvaluations item by item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from likeness.types.v1 import image_pb2
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.doubles import draw
from tests.gateway.failures import reason_of

METRICS = ["pixels", "red"]
COLORS = [draw(f"rgb {10 * number} 90 40", number) for number in range(24)]
"""Pictures to score."""


def item(offset: int, **fields: Any) -> pb.EvaluationItem:
    """A pair; the picture depends on the offset."""
    given: dict[str, Any] = {
        "item_id": f"item {offset}",
        "target": image_pb2.Image(data=TARGET),
        "image": image_pb2.Image(data=COLORS[offset % len(COLORS)]),
    }
    if "prompts" in fields:
        del given["image"]
        if not isinstance(fields["prompts"], pb.EvaluationPrompts):
            fields["prompts"] = pb.EvaluationPrompts(prompts=fields["prompts"])
    return pb.EvaluationItem(offset=offset, **(given | fields))


class Stream:
    """One open stream."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.results: list[pb.EvaluationResult] = []
        self.committed: list[int] = []
        self.opened: service_pb.EvaluationOpened | None = None

    @property
    def name(self) -> str:
        """The evaluation."""
        assert self.opened is not None
        return self.opened.evaluation.name

    async def send(self, *items: pb.EvaluationItem, together: int = 1) -> None:
        """Sends items, so many in each request."""
        for start in range(0, len(items), together):
            some = service_pb.EvaluationItems(items=items[start : start + together])
            await self.call.write(service_pb.StreamEvaluationsRequest(items=some))

    async def read(self) -> bool:
        """Reads one response; False at the end."""
        response = await self.call.read()
        if response is grpc.aio.EOF:
            return False
        match response.WhichOneof("event"):
            case "opened":
                self.opened = response.opened
            case "results":
                self.results += response.results.results
            case "committed":
                self.committed.append(response.committed.committed_offset)
        return True

    async def answered(self, count: int) -> list[pb.EvaluationResult]:
        """All results once there are so many."""
        while len(self.results) < count:
            assert await self.read(), f"ended with {len(self.results)} of {count} results"
        return self.results

    async def stored(self, offset: int) -> None:
        """Waits until everything below the offset is acknowledged."""
        while not self.committed or self.committed[-1] < offset:
            assert await self.read(), f"ended at {self.committed}"

    async def finished(self) -> list[pb.EvaluationResult]:
        """Ends the sending side; all results by offset."""
        await self.call.done_writing()
        while await self.read():
            pass
        assert await self.call.code() is grpc.StatusCode.OK
        return sorted(self.results, key=lambda one: one.offset)

    async def failure(self) -> grpc.aio.AioRpcError:
        """How the stream breaks off."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await self.read():
                pass
        return caught.value


@asynccontextmanager
async def streaming(gateway: Gateway, evaluation: str = "", **config: Any) -> AsyncIterator[Stream]:
    """A stream for as long as the block runs; leaving the block leaves the stream, as a client that vanishes does."""
    if not evaluation and "settings" not in config:
        config["settings"] = pb.EvaluationSettings(metrics=METRICS)
    call = gateway.evaluations.StreamEvaluations()
    await call.write(
        service_pb.StreamEvaluationsRequest(config=service_pb.StreamEvaluationsConfig(evaluation=evaluation, **config))
    )
    stream = Stream(call)
    try:
        await stream.read()
        yield stream
    finally:
        call.cancel()
        # Until the server has noticed, the next stream would meet this one.
        await asyncio.sleep(0)


async def evaluate(gateway: Gateway, items: Iterable[pb.EvaluationItem], **config: Any) -> Stream:
    """A stream from its beginning to its end."""
    async with streaming(gateway, **config) as stream:

        async def send() -> None:
            await stream.send(*items)
            await stream.call.done_writing()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            while await stream.read():
                pass
        assert await stream.call.code() is grpc.StatusCode.OK
        return stream


async def refused(gateway: Gateway, evaluation: str = "", **config: Any) -> tuple[Any, ...]:
    """How a stream is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with streaming(gateway, evaluation, **config) as stream:
            await stream.finished()
    return reason_of(caught.value)
