"""Calls to a backend: what is sent along, which errors come out, what is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from services.common.errors import (
    DeadlineError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    Reason,
    UnavailableError,
)
from services.gateway import deadline
from services.gateway.backends import calls
from services.gateway.backends.clients import ScorerClient
from tests.gateway_io.seam import Backends
from tests.gateway_io.seam_pictures import picture

CRASHED = 'The actor died unexpectedly before finishing this task.\n  File "/srv/secret.py", line 3'


@pytest_asyncio.fixture
async def scorer(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScorerClient]:
    monkeypatch.setattr(calls, "FIRST_WAIT_SECONDS", 0.001)
    client = ScorerClient(backends.address, timeout_seconds=30)
    yield client
    await client.close()


async def test_application_request_id_and_deadline_travel(backends: Backends, scorer: ScorerClient) -> None:
    with deadline.bound(20):
        await scorer.embed("mean", [picture("red")], request_id="abc-1")
    assert backends.scorer.metadata["application"] == "scorer"
    assert backends.scorer.metadata["x-request-id"] == "abc-1"
    assert backends.scorer.time_remaining is not None and backends.scorer.time_remaining < 21


async def test_an_id_that_no_header_can_carry_is_left_out(backends: Backends, scorer: ScorerClient) -> None:
    await scorer.embed("mean", [picture("red")], request_id="größe\n")
    assert "x-request-id" not in backends.scorer.metadata


async def test_without_a_deadline_the_clients_own_timeout_holds(backends: Backends, scorer: ScorerClient) -> None:
    await scorer.list_metrics()
    assert backends.scorer.time_remaining is not None and backends.scorer.time_remaining < 31, "gRPC rounds up"


async def test_a_deadline_that_is_over_makes_no_call(backends: Backends, scorer: ScorerClient) -> None:
    with deadline.bound(0), pytest.raises(DeadlineError):
        await scorer.list_metrics()
    assert backends.scorer.calls == []


async def test_a_deadline_ends_a_slow_call(backends: Backends, scorer: ScorerClient) -> None:
    backends.scorer.gate = asyncio.Event()
    with deadline.bound(0.2), pytest.raises(DeadlineError) as caught:
        await scorer.embed("mean", [picture("red")], request_id="")
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED


async def test_a_backends_own_error_comes_through_whole(backends: Backends, scorer: ScorerClient) -> None:
    backends.scorer.failures.add_error(NotFoundError(Reason.MODEL_NOT_FOUND, "model", "mene", field="model"))
    with pytest.raises(NotFoundError, match="'mene' does not exist") as caught:
        await scorer.embed("mene", [picture("red")], request_id="")
    assert (caught.value.reason, caught.value.field) == (Reason.MODEL_NOT_FOUND, "model")
    backends.scorer.failures.add_error(InvalidInputError("images", "has 0 pictures"))
    with pytest.raises(InvalidInputError, match="has 0 pictures"):
        await scorer.embed("mean", [], request_id="")
    assert backends.scorer.calls == ["Embed", "Embed"], "an answer is not asked for twice"


async def test_unreachable_is_tried_again(backends: Backends, scorer: ScorerClient) -> None:
    backends.scorer.failures.add(grpc.StatusCode.UNAVAILABLE, "Socket closed", times=2)
    assert len(await scorer.embed("mean", [picture("red")], request_id="")) == 1
    assert backends.scorer.calls == ["Embed"] * 3


async def test_a_crash_is_tried_again_but_not_for_ever(backends: Backends, scorer: ScorerClient) -> None:
    backends.scorer.failures.add(grpc.StatusCode.INTERNAL, CRASHED)
    assert len(await scorer.embed("mean", [picture("red")], request_id="")) == 1
    backends.scorer.calls.clear()
    backends.scorer.failures.add(grpc.StatusCode.INTERNAL, CRASHED, times=99)
    with pytest.raises(UnavailableError) as caught:
        await scorer.embed("mean", [picture("red")], request_id="")
    assert backends.scorer.calls == ["Embed"] * (1 + calls.MAX_CRASH_RETRIES)
    assert "secret" not in caught.value.message


async def test_unavailable_said_by_the_backend_is_final_unless_it_names_a_delay(
    backends: Backends, scorer: ScorerClient
) -> None:
    backends.scorer.failures.add_error(UnavailableError(Reason.MODEL_UNAVAILABLE, "no weights"))
    with pytest.raises(UnavailableError, match="no weights"):
        await scorer.list_metrics()
    assert backends.scorer.calls == ["ListMetrics"]
    backends.scorer.failures.add_error(UnavailableError(Reason.MODEL_UNAVAILABLE, "loading", retry_after_seconds=0.01))
    assert (await scorer.list_metrics()).offered


async def test_a_full_queue_is_the_callers_to_wait_for(backends: Backends, scorer: ScorerClient) -> None:
    backends.scorer.failures.add(grpc.StatusCode.RESOURCE_EXHAUSTED, "Request dropped due to backpressure")
    with pytest.raises(OverloadedError) as caught:
        await scorer.list_metrics()
    assert caught.value.reason is Reason.QUEUE_FULL
    assert caught.value.retry_after_seconds == calls.PROXY_FULL_SECONDS
    assert backends.scorer.calls == ["ListMetrics"]


async def test_an_application_that_is_not_deployed_is_unavailable(backends: Backends, scorer: ScorerClient) -> None:
    backends.scorer.failures.add(grpc.StatusCode.NOT_FOUND, "Application 'scorer' not found. Ping /ray.serve...")
    with pytest.raises(UnavailableError, match="scorer: not deployed") as caught:
        await scorer.list_metrics()
    assert caught.value.reason is Reason.BACKEND_UNAVAILABLE


async def test_a_retry_that_would_come_after_the_deadline_is_not_waited_for(
    backends: Backends, scorer: ScorerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_WAIT_SECONDS", "MAX_WAIT_SECONDS", "RETRY_WINDOW_SECONDS"):
        monkeypatch.setattr(calls, name, 1000.0)
    await backends.stop()
    with deadline.bound(20), pytest.raises(UnavailableError) as caught:
        await scorer.list_metrics()
    assert caught.value.reason is Reason.BACKEND_UNAVAILABLE


async def test_a_retry_that_would_have_hardly_any_time_does_not_hide_why_the_backend_failed(
    backends: Backends, scorer: ScorerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "RETRY_WINDOW_SECONDS", 1000.0)
    error = UnavailableError(Reason.MODEL_UNAVAILABLE, "loading", retry_after_seconds=19.9)
    backends.scorer.failures.add_error(error)
    backends.scorer.gate = asyncio.Event()
    with deadline.bound(20), pytest.raises(UnavailableError, match="loading"):
        await scorer.embed("mean", [picture("red")], request_id="")
    assert backends.scorer.calls == ["Embed"]


async def test_a_check_does_not_hide_a_failure_behind_retries(backends: Backends, scorer: ScorerClient) -> None:
    backends.scorer.failures.add(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    with pytest.raises(UnavailableError):
        await scorer.check()
    await scorer.check()


async def test_a_backend_that_went_away_is_found_again(backends: Backends, scorer: ScorerClient) -> None:
    await scorer.list_metrics()
    await backends.stop()
    with pytest.raises(UnavailableError):
        await scorer.check()
    waiting = asyncio.create_task(scorer.list_metrics())
    await asyncio.sleep(0.05)
    await backends.start()
    assert "mean" in (await waiting).offered


async def test_cancelling_the_caller_cancels_the_call(backends: Backends, scorer: ScorerClient) -> None:
    backends.scorer.gate = asyncio.Event()
    task = asyncio.create_task(scorer.embed("mean", [picture("red")], request_id=""))
    while not backends.scorer.calls:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
