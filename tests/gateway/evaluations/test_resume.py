"""Streams that break off: what is stored stays, what is not is made again, on any gateway."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from likeness.gateway.v1 import evaluation_pb2 as pb
from likeness.gateway.v1 import evaluation_service_pb2 as service_pb
from likeness.types.v1 import image_pb2
from services.common.errors import PreconditionError, Reason, UnavailableError
from tests.gateway.conftest import Gateway, Parts, clear, running
from tests.gateway.evaluations.streaming import COLORS, evaluate, item, refused, streaming
from tests.gateway.failures import reason_of

pytestmark = pytest.mark.integration

COUNT = 30


@pytest.mark.parametrize("broken_at", [0, 1, 7, 29, 30])
async def test_a_stream_that_broke_goes_on_where_it_was(gateway: Gateway, broken_at: int) -> None:
    items = [item(n) for n in range(COUNT)]
    async with streaming(gateway) as stream:
        await stream.send(*items[:broken_at])
        await stream.stored(broken_at) if broken_at else None
    async with streaming(gateway, stream.name) as again:
        assert again.opened is not None and again.opened.evaluation.committed_offset == broken_at
        await again.send(*items[broken_at:])
        results = await again.finished()
    assert [one.offset for one in results] == list(range(broken_at, COUNT))
    assert not any(one.replayed for one in results)
    whole = await evaluate(gateway, items)
    assert [one.images for one in results] == [
        one.images for one in sorted(whole.results, key=lambda one: one.offset)[broken_at:]
    ]


async def test_a_stream_killed_at_any_moment_loses_nothing(gateway: Gateway) -> None:
    items = [item(n) for n in range(COUNT)]
    name, answered, acknowledged = "", {}, 0
    for reads in (1, 2, 3, 5, 8, 13):
        async with streaming(gateway, name) as stream:
            name = stream.name
            assert stream.opened is not None
            committed = stream.opened.evaluation.committed_offset
            # An acknowledged offset is never taken back.
            assert committed >= acknowledged
            await stream.send(*items[committed:])
            for _ in range(reads):
                # The last message commits the last item: nothing comes after it.
                if max([committed, *stream.committed]) < COUNT:
                    await stream.read()
            answered |= {one.offset: one.images for one in stream.results}
            acknowledged = max([acknowledged, committed, *stream.committed])
    async with streaming(gateway, name) as last:
        await last.send(*items)
        results = await last.finished()
    assert [one.offset for one in results] == list(range(COUNT))
    assert all(one.replayed for one in results[:acknowledged])
    # What was answered before is what is stored.
    assert all(results[offset].images == images for offset, images in answered.items())


async def test_results_ahead_of_the_committed_offset_are_kept(gateway: Gateway) -> None:
    settings = pb.EvaluationSettings(metrics=["pixels"], generation=pb.EvaluationGeneration())
    generator, scorer = gateway.parts.generator, gateway.parts.scorer
    generator.gate.clear()
    async with streaming(gateway, settings=settings) as stream:
        await stream.send(item(0, prompts=["rgb 1 1 1"]), *(item(n) for n in range(1, 6)))
        await stream.answered(5)
    scored = scorer.scored.total()
    # What was under way would be stored if it went on before the gateway knew that its caller has left.
    while not generator.cancelled:
        await asyncio.sleep(0.01)
    generator.gate.set()
    async with streaming(gateway, stream.name) as again:
        assert again.opened is not None and again.opened.evaluation.committed_offset == 0
        # What has a result need not be sent again: there is no gap between 0 and 6.
        await again.send(item(0, prompts=["rgb 1 1 1"]), item(6), item(3))
        results = await again.finished()
        assert again.committed[-1] == 7
    assert [(one.offset, one.replayed) for one in results] == [(0, False), (3, True), (6, False)]
    assert scorer.scored.total() == scored + 2


async def test_duplicates_are_answered_from_the_store(gateway: Gateway) -> None:
    async with streaming(gateway) as stream:
        await stream.send(item(0), item(1))
        await stream.stored(2)
        scored = gateway.parts.scorer.scored.total()
        await stream.send(item(1), item(0), item(0))
        results = await stream.finished()
    assert [(one.offset, one.replayed) for one in results] == [(0, False), (0, True), (0, True), (1, False), (1, True)]
    assert len({one.images[0].SerializeToString() for one in results if one.offset == 0}) == 1
    assert gateway.parts.scorer.scored.total() == scored


async def test_a_failed_item_is_replayed_as_it_failed(gateway: Gateway) -> None:
    bad = item(0, image=image_pb2.Image(data=b"broken"))
    async with streaming(gateway) as stream:
        await stream.send(bad)
        await stream.stored(1)
        await stream.send(bad)
        first, again = await stream.answered(2)
    assert again.replayed and again.error == first.error


async def test_a_duplicate_of_an_item_under_way_waits_for_its_result(gateway: Gateway) -> None:
    settings = pb.EvaluationSettings(metrics=["pixels"], generation=pb.EvaluationGeneration())
    gateway.parts.generator.gate.clear()
    one = item(0, prompts=["rgb 1 1 1"])
    async with streaming(gateway, settings=settings) as stream:
        await stream.send(one, one, item(0, prompts=["rgb 2 2 2"]))
        (refused,) = await stream.answered(1)
        assert refused.error.error.reason == "OFFSET_REUSED"
        gateway.parts.generator.gate.set()
        results = await stream.finished()
    assert [(one.HasField("error"), one.replayed) for one in results] == [(True, False), (False, False), (False, True)]
    assert gateway.parts.generator.made.total() == 1


async def test_another_item_at_a_known_offset_is_an_error_of_that_item(gateway: Gateway) -> None:
    async with streaming(gateway) as stream:
        await stream.send(item(0))
        await stream.stored(1)
        await stream.send(item(0, image=image_pb2.Image(data=COLORS[7])), item(1))
        results = await stream.answered(3)
        other = next(one for one in results if one.HasField("error"))
        assert (other.offset, other.error.code, other.error.error.reason) == (0, "ALREADY_EXISTS", "OFFSET_REUSED")
        # The stored result is unharmed.
        await stream.send(item(0))
        assert (await stream.answered(4))[-1].images == results[0].images


async def test_other_settings_are_refused_and_the_same_are_fine(gateway: Gateway) -> None:
    first = await evaluate(gateway, [item(0)])
    error = await refused(gateway, first.name, settings=pb.EvaluationSettings(metrics=["blue"]))
    assert error == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "config.settings")
    async with streaming(gateway, first.name, settings=first.opened.evaluation.settings) as same:
        await same.send(item(1))
        assert len(await same.finished()) == 1


async def test_two_gateways_share_an_evaluation(gateway: Gateway, database_url: str) -> None:
    async with running(database_url, Parts()) as other, streaming(gateway) as first:
        await first.send(*(item(n) for n in range(10)))
        await first.stored(10)
        (held,) = gateway.server.evaluations.streams._streams
        async with streaming(other, first.name) as second:
            # The newest stream has it: the older one ends, although nothing happens on it, and what it might still
            # finish is stored by nobody.
            error = await first.failure()
            assert reason_of(error) == (grpc.StatusCode.FAILED_PRECONDITION, "EVALUATION_TAKEN_OVER")
            with pytest.raises(PreconditionError) as late:
                await held._evaluations.add_results(held.opened.hold, [], committed_offset=11)
            assert late.value.reason is Reason.EVALUATION_TAKEN_OVER
            await second.send(*(item(n) for n in range(10, 20)))
            results = await second.finished()
    assert [one.offset for one in results] == list(range(10, 20)) and not any(one.replayed for one in results)


@pytest.mark.parametrize(
    ("method", "reason"), [("CancelEvaluation", "EVALUATION_NOT_OPEN"), ("DeleteEvaluation", "EVALUATION_NOT_FOUND")]
)
async def test_an_idle_stream_learns_that_its_evaluation_is_no_more(
    gateway: Gateway, database_url: str, method: str, reason: str
) -> None:
    async with running(database_url, Parts()) as other, streaming(gateway) as stream, streaming(gateway) as beside:
        await stream.send(item(0))
        await stream.stored(1)
        request = getattr(service_pb, f"{method}Request")(name=stream.name)
        await getattr(other.evaluations, method)(request)
        assert reason_of(await stream.failure())[1] == reason
        await beside.send(item(0))
        assert len(await beside.finished()) == 1


async def test_a_gateway_that_dies_is_followed_by_another(database_url: str) -> None:
    items = [item(n) for n in range(COUNT)]
    async with running(database_url, Parts()) as dying, streaming(dying) as stream:
        await stream.send(*items[:12])
        await stream.stored(12)
    async with running(database_url, Parts()) as heir, streaming(heir, stream.name) as again:
        assert again.opened is not None and again.opened.evaluation.committed_offset == 12
        await again.send(*items[12:])
        assert len(await again.finished()) == COUNT - 12
    await clear(database_url)


async def test_a_gateway_that_shuts_down_answers_what_it_has_read(database_url: str) -> None:
    async with running(database_url, Parts()) as gateway, streaming(gateway) as stream:
        await stream.send(item(0), item(1))
        await stream.answered(1)
        gateway.server.evaluations.streams.close()
        error = await stream.failure()
        assert reason_of(error) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
        assert stream.committed[-1] == len(stream.results)
        assert (await refused(gateway, stream.name))[0] is grpc.StatusCode.UNAVAILABLE
    await clear(database_url)


async def test_a_database_that_goes_away_ends_the_stream_and_loses_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = gateway.server.evaluations.streams._evaluations
    store = repository.add_results

    async def away(*_: object, **__: object) -> None:
        raise UnavailableError(Reason.DATABASE_UNAVAILABLE, "the database does not answer")

    async with streaming(gateway) as stream:
        await stream.send(item(0))
        await stream.stored(1)
        monkeypatch.setattr(repository, "add_results", away)
        await stream.send(item(1))
        assert reason_of(await stream.failure())[:2] == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        # No answer before it is stored.
        assert len(stream.results) == 1
    monkeypatch.setattr(repository, "add_results", store)
    async with streaming(gateway, stream.name) as again:
        await again.send(item(1))
        assert [(one.offset, one.replayed) for one in await again.finished()] == [(1, False)]


async def test_an_evaluation_that_is_deleted_while_its_results_are_read_is_not_found(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = gateway.server.evaluations.streams._evaluations
    find = repository.find_results

    async def delete_first(*args: object) -> object:
        await gateway.execute("DELETE FROM evaluations")
        return await find(*args)

    monkeypatch.setattr(repository, "find_results", delete_first)
    async with streaming(gateway) as stream:
        await stream.send(item(0))
        await stream.stored(1)
        await stream.send(item(0))
        assert reason_of(await stream.failure()) == (grpc.StatusCode.NOT_FOUND, "EVALUATION_NOT_FOUND")


async def test_an_ended_evaluation_goes_on_when_more_is_sent(gateway: Gateway) -> None:
    first = await evaluate(gateway, [item(0)])
    async with streaming(gateway, first.name) as more:
        assert more.opened is not None and more.opened.evaluation.done_count == 1
        await more.send(item(1))
        await more.finished()
    async with streaming(gateway, first.name) as last:
        assert last.opened is not None
        assert (last.opened.evaluation.committed_offset, last.opened.evaluation.failed_count) == (2, 0)
    await asyncio.sleep(0)
