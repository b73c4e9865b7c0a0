"""`evaluate_stream` of both clients against a real gateway, over connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from likeness import (
    AsyncClient,
    Client,
    Evaluation,
    EvaluationItem,
    EvaluationResult,
    InvalidArgument,
    NotFound,
    RetryPolicy,
)
from likeness._evaluation_stream import Outgoing, item_message
from tests.gateway.conftest import TARGET, Gateway
from tests.gateway.doubles import likeness
from tests.gateway.evaluations.proxy import proxied
from tests.gateway.evaluations.streaming import COLORS

pytestmark = pytest.mark.integration

QUICK = RetryPolicy(initial_delay_seconds=0.01, max_delay_seconds=0.2, reconnect_seconds=100)
METRICS = ["pixels", "red"]
COUNT = 150


def pairs(count: int = COUNT) -> list[EvaluationItem]:
    return [EvaluationItem(f"item {n}", image=COLORS[n % 24], target=TARGET, system="s") for n in range(count)]


async def collected(
    kind: str,
    address: str,
    items: Iterable[EvaluationItem],
    on_result: Callable[[EvaluationResult], None] = lambda _: None,
    **options: Any,
) -> list[EvaluationResult]:
    """Results of either client in the order in which they came; `on_result` runs in the event loop."""
    found: list[EvaluationResult] = []
    if kind == "async":
        async with (
            AsyncClient(address, retry=QUICK) as client,
            aclosing(client.evaluate_stream(items, **options)) as results,
        ):
            async for one in results:
                found.append(one)
                on_result(one)
        return found
    loop = asyncio.get_running_loop()

    async def tell(one: EvaluationResult) -> None:
        on_result(one)

    def run() -> None:
        with Client(address, retry=QUICK) as client:
            for one in client.evaluate_stream(items, **options):
                found.append(one)
                asyncio.run_coroutine_threadsafe(tell(one), loop).result()

    await asyncio.to_thread(run)
    return found


both = pytest.mark.parametrize("kind", ["sync", "async"])


def address_of(gateway: Gateway) -> str:
    return f"127.0.0.1:{gateway.server.port}"


@both
async def test_every_item_has_one_result(gateway: Gateway, kind: str) -> None:
    opened: list[Evaluation] = []
    results = await collected(kind, address_of(gateway), pairs(), metrics=METRICS, on_open=opened.append)
    assert sorted(one.offset for one in results) == list(range(COUNT))
    for one in results:
        assert (one.item_id, one.system, one.error) == (f"item {one.offset}", "s", None)
        assert one.images[0].scores[0].raw == likeness(TARGET, COLORS[one.offset % 24])
    assert [one.settings.metrics for one in opened] == [tuple(METRICS)]


@both
async def test_prompts_and_bad_items(gateway: Gateway, kind: str) -> None:
    items = [
        EvaluationItem("made", prompts=["rgb 1 2 3"], target=TARGET, seed=4),
        EvaluationItem("bad", image=b"no picture", target=TARGET),
    ]
    results = await collected(kind, address_of(gateway), items, metrics=["pixels"], images=2)
    made, bad = sorted(results, key=lambda one: one.offset)
    assert [image.record.seed for image in made.images if image.record] == [4, 5]
    assert bad.error is not None and (bad.code, bad.error.reason) == ("INVALID_ARGUMENT", "IMAGE_UNREADABLE")


@both
@pytest.mark.parametrize("broken_at", [{1}, {3, 40, 41, 120}])
async def test_broken_connections_cost_no_item_and_no_result(gateway: Gateway, kind: str, broken_at: set[int]) -> None:
    async with proxied(gateway.server.port) as proxy:
        seen = 0

        def on_result(_: EvaluationResult) -> None:
            nonlocal seen
            seen += 1
            if seen in broken_at:
                proxy.break_connections()

        results = await collected(kind, proxy.address, pairs(), on_result, metrics=METRICS, max_outstanding=16)
        assert proxy.connections > 1
    assert sorted(one.offset for one in results) == list(range(COUNT))
    assert not any(one.error for one in results)


@both
async def test_after_a_crash_the_same_items_go_on(gateway: Gateway, kind: str) -> None:
    opened: list[Evaluation] = []
    await collected(kind, address_of(gateway), pairs(60), metrics=METRICS, on_open=opened.append)
    scored = gateway.parts.scorer.scored.total()
    again = await collected(kind, address_of(gateway), pairs(80), evaluation=opened[0])
    assert sorted(one.offset for one in again if one.replayed) == list(range(60))
    assert sorted(one.offset for one in again if not one.replayed) == list(range(60, 80))
    # All pictures are known.
    assert gateway.parts.scorer.scored.total() == scored
    rest = await collected(kind, address_of(gateway), pairs(5), evaluation=opened[0].id, offset=80)
    assert sorted(one.offset for one in rest) == list(range(80, 85))


@both
async def test_no_more_items_are_read_than_are_allowed(gateway: Gateway, kind: str) -> None:
    read = answered = most = 0

    def counted() -> Iterator[EvaluationItem]:
        nonlocal read, most
        for one in pairs(200):
            read += 1
            most = max(most, read - answered)
            yield one

    def on_result(_: EvaluationResult) -> None:
        nonlocal answered
        answered += 1

    await collected(kind, address_of(gateway), counted(), on_result, metrics=METRICS, max_outstanding=10)
    # An answer is counted here a moment after it made room: those that came with it are on their way.
    assert read == 200 and most <= 10 + 64


@both
async def test_what_the_items_raise_comes_after_the_results_before_it(gateway: Gateway, kind: str) -> None:
    def broken() -> Iterator[EvaluationItem]:
        yield from pairs(7)
        raise LookupError("no more pictures")

    found: list[EvaluationResult] = []
    with pytest.raises(LookupError):
        await collected(kind, address_of(gateway), broken(), found.append, metrics=METRICS)
    assert len(found) == 7
    with pytest.raises(FileNotFoundError):
        await collected(kind, address_of(gateway), [EvaluationItem("x", image="/none.png")], metrics=METRICS)


@both
async def test_errors_of_the_options(gateway: Gateway, kind: str) -> None:
    with pytest.raises(NotFound) as caught:
        await collected(kind, address_of(gateway), pairs(1), metrics=["none"])
    assert caught.value.reason == "METRIC_NOT_FOUND"
    with pytest.raises(InvalidArgument) as refused:
        await collected(kind, address_of(gateway), pairs(1), metrics=METRICS, offset=5)
    assert refused.value.reason == "OFFSET_GAP"
    with pytest.raises(TypeError, match="images"):
        await collected(kind, address_of(gateway), pairs(1), steps=5)
    with pytest.raises(ValueError, match="max_outstanding"):
        await collected(kind, address_of(gateway), pairs(1), max_outstanding=0)


async def test_items_may_be_asynchronous_and_slow(gateway: Gateway) -> None:
    sent = asyncio.Event()

    async def items() -> AsyncIterator[EvaluationItem]:
        first, second = pairs(2)
        yield first
        # Its result comes although there are more items.
        await sent.wait()
        yield second

    async with (
        AsyncClient(address_of(gateway), retry=QUICK) as client,
        aclosing(client.evaluate_stream(items(), metrics=METRICS)) as results,
    ):
        assert (await anext(results)).offset == 0
        sent.set()
        assert [one.offset async for one in results] == [1]


@both
async def test_leaving_cancels_what_is_under_way(gateway: Gateway, kind: str) -> None:
    generator = gateway.parts.generator
    generator.gate.clear()
    items = [*pairs(1), EvaluationItem("made", prompts=["rgb 1 2 3"], target=TARGET)]

    class LeftError(Exception):
        pass

    def leave(_: EvaluationResult) -> None:
        raise LeftError

    with pytest.raises(LeftError):
        await collected(kind, address_of(gateway), items, leave, metrics=["pixels"], images=1)
    while generator.cancelled < len(generator.calls):
        await asyncio.sleep(0.01)
    assert generator.finished == 0


def test_outgoing_items_are_sent_again_in_order() -> None:
    outgoing = Outgoing(5, 3)
    for one in pairs(3):
        assert outgoing.has_room
        outgoing.add(item_message(one))
    assert not outgoing.has_room
    assert [one.offset for one in outgoing.take().items.items] == [5, 6, 7] and not outgoing.has_unsent
    assert outgoing.answered(6) and not outgoing.answered(6) and outgoing.has_room
    outgoing.connected()
    assert [one.offset for one in outgoing.take().items.items] == [5, 7]
    assert outgoing.answered(5) and outgoing.answered(7) and outgoing.all_answered
    outgoing.connected()
    assert not outgoing.has_unsent
