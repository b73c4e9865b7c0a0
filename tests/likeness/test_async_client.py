"""The async client offers what the sync one does."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from likeness import AsyncClient, CandidateProgress, Client, Event, NotFound, SessionState
from tests.likeness.gateway.server import TestGateway


def test_both_clients_have_the_same_methods() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_"):
            continue
        twin = inspect.signature(getattr(AsyncClient, name)).parameters
        ours = inspect.signature(method).parameters
        assert [(item.name, item.default) for item in ours.values()] == [
            (item.name, item.default) for item in twin.values()
        ], name


async def test_regenerate(async_client: AsyncClient, target: bytes) -> None:
    seen: list[Event] = []

    async def note(event: Event) -> None:
        seen.append(event)

    result = await async_client.regenerate(target, rounds=2, on_event=note)
    assert result.session.state is SessionState.SUCCEEDED and result.best_image.size == (64, 64)
    assert seen[0].kind == "session_snapshot"


async def test_a_cancelled_task_cancels_its_loop(async_client: AsyncClient, target: bytes) -> None:
    started = asyncio.Event()

    def note(event: Event) -> None:
        if isinstance(event.body, CandidateProgress):
            started.set()

    task = asyncio.create_task(async_client.regenerate(target, rounds=100, candidates=64, on_event=note))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await async_client.get_session("s1")).session.state is SessionState.CANCELLED


async def test_the_other_calls(async_client: AsyncClient, gateway: TestGateway, target: bytes) -> None:
    session = await async_client.create_session(target)
    assert [event.kind async for event in async_client.submit_prompt(session, "a car")][-1] == "state_changed"
    assert (await async_client.submit_feedback(session, "bluer")).text
    assert (await async_client.rank_images(session, ["r1c1", "r1c2"])).candidate_ids == ("r1c1", "r1c2")
    assert [item.id async for item in async_client.list_sessions(page_size=1)] == ["s1"]
    info = await async_client.upload_image(target)
    assert (await async_client.get_image(info)).size == (64, 64)
    assert (await async_client.score(target, [target]))[0].scores
    assert (await async_client.models()).models and await async_client.metrics()
    assert await async_client.absent_metrics()
    assert await async_client.strategies() and (await async_client.status()).components
    gateway.hold_loops()
    await async_client.start_loop(session)
    assert (await async_client.cancel_loop(session)).state is SessionState.CANCELLED
    await async_client.delete_session(session)
    with pytest.raises(NotFound):
        await async_client.get_session(session)
