"""How far a stream is read ahead of what it has answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from likeness.gateway.v1 import evaluation_pb2 as pb
from services.common.errors import InvalidInputError
from services.gateway.evaluations.answers import Answer, Committed
from services.gateway.evaluations.model import EvaluationItem, GenerationSettings
from services.gateway.evaluations.stream import EvaluationStream
from services.gateway.evaluations.streams import StreamInput
from services.gateway.evaluations.validation import GenerationInput, SettingsInput
from services.gateway.evaluations.window import DEFAULT_BYTES, DEFAULT_ITEMS, Limits
from services.gateway.rpc.evaluation_converters import item_from_proto
from tests.gateway.conftest import Gateway
from tests.gateway.evaluations.streaming import item

pytestmark = pytest.mark.integration

MAKING = SettingsInput(("pixels",), GenerationInput(GenerationSettings()))


class Source:
    """Items that count how many of them were read."""

    def __init__(self, items: Iterable[pb.EvaluationItem], size_bytes: int | None = None) -> None:
        self._items = items
        self._size_bytes = size_bytes
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[list[EvaluationItem]]:
        for one in self._items:
            self.read += 1
            made = item_from_proto(one)
            yield [made if self._size_bytes is None else replace(made, size_bytes=self._size_bytes)]

    async def settled(self) -> int:
        """Items read, once no more are read for a while."""
        read, quiet = -1, 0
        while quiet < 10:
            quiet = quiet + 1 if self.read == read else 0
            read = self.read
            await asyncio.sleep(0.02)
        return read


@asynccontextmanager
async def opened(gateway: Gateway, items: int, size_bytes: int = 0) -> AsyncIterator[EvaluationStream]:
    asked = StreamInput(settings=MAKING, max_outstanding_items=items, max_outstanding_bytes=size_bytes)
    async with gateway.server.evaluations.streams.opened("default", asked, None, call_id="test") as stream:
        yield stream


def prompts(count: int) -> list[pb.EvaluationItem]:
    return [item(n, prompts=[f"rgb {n} 1 1"]) for n in range(count)]


async def drained(answers: AsyncIterator[list[Answer] | Committed]) -> int:
    """Answers that are left."""
    return sum([len(one) async for one in answers if not isinstance(one, Committed)])


def count(event: list[Answer] | Committed) -> int:
    return 0 if isinstance(event, Committed) else len(event)


async def test_no_more_items_are_read_than_allowed(gateway: Gateway) -> None:
    generator = gateway.parts.generator
    generator.gate.clear()
    source = Source(prompts(40))
    async with opened(gateway, 12) as stream, aclosing(stream.run(aiter(source))) as answers:
        first = asyncio.ensure_future(anext(answers))
        assert await source.settled() == 12
        generator.gate.set()
        assert count(await first) + await drained(answers) == 40
    assert source.read == 40


async def test_no_more_bytes_are_read_than_allowed(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    source = Source(prompts(40), size_bytes=400_000)
    async with opened(gateway, 40, 1 << 20) as stream, aclosing(stream.run(aiter(source))) as answers:
        first = asyncio.ensure_future(anext(answers))
        # The third reaches the bound of 1,048,576.
        assert await source.settled() == 3
        gateway.parts.generator.gate.set()
        assert count(await first) + await drained(answers) == 40


async def test_a_caller_who_reads_no_answers_is_not_read(gateway: Gateway) -> None:
    source = Source(item(n) for n in range(500))
    async with opened(gateway, 16) as stream, aclosing(stream.run(aiter(source))) as answers:
        taken = 0
        for _ in range(5):
            taken += count(await anext(answers))
            # Answers handed out are taken when the next are asked for.
            assert await source.settled() <= 16 + taken


async def test_no_item_gets_far_ahead_of_one_that_takes_long(gateway: Gateway) -> None:
    gateway.parts.generator.gate.clear()
    source = Source([*prompts(1), *(item(n) for n in range(1, 100))])
    async with opened(gateway, 10) as stream, aclosing(stream.run(aiter(source))) as answers:
        got: set[int] = set()
        while len(got) < 9:
            event = await anext(answers)
            assert not isinstance(event, Committed)
            got |= {one.result.offset for one in event}
        assert got == set(range(1, 10))
        last = asyncio.ensure_future(anext(answers))
        assert await source.settled() == 10
        gateway.parts.generator.gate.set()
        assert count(await last) + await drained(answers) == 91


async def test_items_before_a_fault_of_their_source_are_answered(gateway: Gateway) -> None:
    async def faulty() -> AsyncIterator[list[EvaluationItem]]:
        for number in range(5):
            yield [item_from_proto(item(number))]
        raise InvalidInputError("manifest", "is cut")

    answered = 0
    async with opened(gateway, 40) as stream, aclosing(stream.run(faulty())) as answers:
        with pytest.raises(InvalidInputError, match="is cut"):
            async for event in answers:
                answered += count(event)
        stored = await gateway.server.evaluations.service.get("default", stream.opened.evaluation.id)
    assert answered == stored.committed_offset == 5


@pytest.mark.parametrize(
    ("items", "size_bytes", "limits"),
    [
        (0, 0, Limits(DEFAULT_ITEMS, DEFAULT_BYTES)),
        (1, 1 << 20, Limits(1, 1 << 20)),
        (4096, 1 << 28, Limits(4096, 1 << 28)),
    ],
)
def test_limits(items: int, size_bytes: int, limits: Limits) -> None:
    assert Limits.asked(items, size_bytes) == limits


@pytest.mark.parametrize(("items", "size_bytes"), [(-1, 0), (4097, 0), (1, -1), (1, (1 << 20) - 1), (1, (1 << 28) + 1)])
def test_limits_beyond_the_bounds(items: int, size_bytes: int) -> None:
    with pytest.raises(InvalidInputError, match="allowed"):
        Limits.asked(items, size_bytes)
