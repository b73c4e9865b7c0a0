"""One evaluation stream, kept open through whatever happens: what it sends, and what must come back."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import grpc

from likeness.gateway.v1 import evaluation_pb2, evaluation_service_pb2_grpc
from likeness.gateway.v1 import evaluation_service_pb2 as pb
from likeness.types.v1 import image_pb2
from reliability.light.pictures import paint

REOPEN_SECONDS = 0.5
BAD_EVERY, PROMPT_EVERY = 50, 5
"""One item in so many has a picture that is none, or prompts in place of a picture."""
SETTINGS = evaluation_pb2.EvaluationSettings(
    metrics=["mean", "pixels"], generation=evaluation_pb2.EvaluationGeneration(count=1, steps=2)
)
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""Statuses after which the stream is opened again; a gateway that shuts down cancels what is open."""

_LOCAL = "Internal error from Core"
"""What grpc.aio says of its own if a stream breaks while a message is written; the server never said it."""


@dataclass
class StreamTally:
    """What became of the items, as their client saw it."""

    items: int
    results: dict[int, evaluation_pb2.EvaluationResult] = field(default_factory=dict)
    contradicted: list[int] = field(default_factory=list)
    """Offsets that got two different answers."""
    replayed: int = 0
    opened: int = 0
    breaks: Counter[str] = field(default_factory=Counter)
    """Why the stream ended, but for the last time."""
    state: str = ""
    """Of the evaluation at the end."""

    @property
    def missing(self) -> int:
        """Items without an answer."""
        return self.items - len(self.results)

    @property
    def wrong(self) -> list[str]:
        """Good items that failed, with why, and bad ones that did not."""
        found = []
        for offset, result in sorted(self.results.items()):
            if is_bad(offset) != result.HasField("error"):
                found.append(f"item {offset}: {result.error.error.reason or 'taken'}")
            elif not is_bad(offset) and not all(len(one.scores) == 2 for one in result.images):
                found.append(f"item {offset}: {[one.error.reason for one in result.images]}")
        return found


async def run_stream(address: str, tally: StreamTally, pause_seconds: float) -> None:
    """Sends every item and ends when each has an answer and the evaluation is finished.

    Args:
        address: Of all gateways.
        tally: Filled on the way.
        pause_seconds: Between two items, as far as the stream is open; what could not be sent in time follows at once.
    """
    config = pb.StreamEvaluationsConfig(settings=SETTINGS, request_id=str(uuid.uuid4()))
    began = time.monotonic()

    async def requests() -> AsyncIterator[pb.StreamEvaluationsRequest]:
        yield pb.StreamEvaluationsRequest(config=config)
        # What was sent before and has no answer goes first; it is stored, or will be made again.
        for offset in range(tally.items):
            if offset in tally.results:
                continue
            await asyncio.sleep(max(began + offset * pause_seconds - time.monotonic(), 0))
            yield pb.StreamEvaluationsRequest(items=pb.EvaluationItems(items=[item(offset)]))

    async with grpc.aio.insecure_channel(address) as channel:
        stub = evaluation_service_pb2_grpc.EvaluationServiceStub(channel)
        while True:
            call = stub.StreamEvaluations(requests())
            try:
                async for response in call:
                    _take(response, config, tally)
                if not tally.missing:
                    break
                tally.breaks["ended with items open"] += 1
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AGAIN and _LOCAL not in (error.details() or ""):
                    raise
                # Without the addresses, which are others each time.
                tally.breaks[f"{error.code().name}: {(error.details() or '').partition(';')[0]}"] += 1
            await asyncio.sleep(REOPEN_SECONDS)
        with suppress(grpc.aio.AioRpcError):
            answer = await stub.GetEvaluation(pb.GetEvaluationRequest(name=config.evaluation), timeout=30)
            tally.state = evaluation_pb2.Evaluation.State.Name(answer.evaluation.state)


def item(offset: int) -> evaluation_pb2.EvaluationItem:
    """The item at an offset, always the same."""
    chance = random.Random(offset)
    prompt = f"rgb {chance.randrange(256)} {chance.randrange(256)} {chance.randrange(256)}"
    made = evaluation_pb2.EvaluationItem(
        offset=offset,
        item_id=f"item-{offset}",
        group=f"group-{offset % 3}",
        target=image_pb2.Image(data=paint(prompt, offset)),
    )
    if is_bad(offset):
        made.image.data = b"no picture"
    elif offset % PROMPT_EVERY == 0:
        made.prompts.prompts.append(prompt)
    else:
        made.image.data = paint(prompt, offset + 1)
    return made


def is_bad(offset: int) -> bool:
    """Whether the item at an offset must fail, alone."""
    return offset % BAD_EVERY == BAD_EVERY - 1


def _take(response: pb.StreamEvaluationsResponse, config: pb.StreamEvaluationsConfig, tally: StreamTally) -> None:
    match response.WhichOneof("event"):
        case "opened":
            tally.opened += 1
            config.evaluation = response.opened.evaluation.name
        case "results":
            for result in response.results.results:
                tally.replayed += result.replayed
                result.replayed = False
                if tally.results.setdefault(result.offset, result) != result:
                    tally.contradicted.append(result.offset)
