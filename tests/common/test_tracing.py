"""Spans as a collector receives them, over real gRPC."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from contextvars import Context

import pytest

from services.common import telemetry, tracing
from services.common.errors import InvalidInputError, NotFoundError, Reason, UnavailableError
from tests.collector import WAIT_SECONDS, Collector, Received, collecting

METHOD = "likeness.scorer.v1.ScorerService/Embed"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector, with this process tracing to it."""
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", WAIT_SECONDS)
    with collecting() as one:
        tracing.start("tested", one.endpoint)
        yield one
        tracing.stop()


def sent(collector: Collector) -> dict[str, Received]:
    """What was sent, by name; traces no more."""
    tracing.stop()
    return {one.name: one for one in collector.spans()}


def test_without_an_endpoint_nothing_is_imported_or_made() -> None:
    code = """
import sys
from services.common import telemetry, tracing
tracing.start("gateway", None)
with tracing.root("loop") as root, tracing.served("a/B", (), begins=True), tracing.span("s") as span:
    tracing.past("p", span, 0.0, 1.0)
    span.set(a=1)
    assert not root and not span and span.headers() == () and tracing.current().trace_id == ""
tracing.stop()
assert not [name for name in sys.modules if name.startswith(("opentelemetry", "grpc"))], sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_parts_of_a_trace_have_their_parents_and_times(collector: Collector) -> None:
    began = time.perf_counter()
    with tracing.root("loop", attributes={"likeness.session_id": "s1"}) as root:
        with tracing.span("round") as each:
            each.set(round=1, gain=0.5)
            tracing.past("queue", each, began, began + 0.25)
        with tracing.span("beside"):
            pass
    spans = sent(collector)
    loop, each = spans["loop"], spans["round"]
    assert {one.trace_id for one in spans.values()} == {root.trace_id}
    assert (loop.parent_id, each.parent_id) == ("", loop.span_id)
    assert (spans["queue"].parent_id, spans["beside"].parent_id) == (each.span_id, loop.span_id)
    assert spans["queue"].seconds == pytest.approx(0.25, abs=1e-6)
    assert loop.began_ns <= each.began_ns <= each.ended_ns <= loop.ended_ns
    assert each.attributes == {"likeness.round": 1, "likeness.gain": 0.5}
    assert loop.service == "likeness-tested"


def test_nothing_is_sent_outside_of_a_trace(collector: Collector) -> None:
    with tracing.span("alone") as alone:
        assert not alone and tracing.begin("alone", kind="client").headers() == ()
    with tracing.served(METHOD, [("application", "scorer")]):
        pass
    assert sent(collector) == {}


def test_a_called_process_goes_on_with_the_trace(collector: Collector) -> None:
    with tracing.root("call"):
        client = tracing.begin(METHOD + "!", kind="client")
        headers = client.headers()
        client.end()
    # As in another process: nothing but the metadata is known there.
    Context().run(_serve, [("application", "scorer"), *headers])
    spans = sent(collector)
    assert spans[METHOD].parent_id == spans[METHOD + "!"].span_id
    assert len({one.trace_id for one in spans.values()}) == 1
    assert (spans[METHOD + "!"].kind, spans[METHOD].kind) == (3, 2)  # client, server
    assert spans[METHOD].attributes == {"rpc.system.name": "grpc", "rpc.method": METHOD}


def _serve(metadata: list[tuple[str, str]]) -> None:
    with tracing.served(METHOD, metadata):
        pass


@pytest.mark.parametrize("header", ["", "00-zz-11-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 9000])
def test_broken_trace_context_begins_a_trace_where_calls_do(collector: Collector, header: str) -> None:
    with tracing.served(METHOD, [("traceparent", header)], begins=True) as one:
        assert len(one.trace_id) == 32
    assert sent(collector)[METHOD].parent_id == ""


def test_a_caller_that_does_not_sample_is_not_recorded(collector: Collector) -> None:
    parent = "00-" + "1" * 32 + "-" + "2" * 16 + "-00"
    with tracing.served(METHOD, [("traceparent", parent)], begins=True) as one:
        assert dict(one.headers())["traceparent"].startswith("00-" + "1" * 32)
    assert sent(collector) == {}


@pytest.mark.parametrize(
    ("error", "reason", "is_ours"),
    [
        (NotFoundError(Reason.MODEL_NOT_FOUND, "model", "a secret prompt"), "MODEL_NOT_FOUND", False),
        (UnavailableError(Reason.BACKEND_UNAVAILABLE, "a secret prompt"), "BACKEND_UNAVAILABLE", True),
        (ValueError("a secret prompt"), "ValueError", True),
        (asyncio.CancelledError("a secret prompt"), "cancelled", False),
    ],
)
def test_errors_are_named_by_reason_and_never_quoted(
    collector: Collector, error: BaseException, reason: str, is_ours: bool
) -> None:
    with pytest.raises(type(error)), tracing.root("call"):
        raise error
    call = sent(collector)["call"]
    assert (call.attributes["error.type"], call.failed) == (reason, is_ours)
    assert "secret" not in collector.text


async def test_a_stream_closed_in_another_context_complains_of_nothing(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    async def stream() -> AsyncIterator[int]:
        with tracing.root("stream"):
            yield 1
            yield 2

    async with aclosing(stream()) as numbers:
        assert await anext(numbers) == 1
        await asyncio.create_task(numbers.aclose(), context=Context())
    assert "stream" in await asyncio.to_thread(sent, collector)
    assert not caplog.records


def test_log_lines_carry_the_trace(collector: Collector) -> None:
    line = logging.LogRecord("tests", logging.INFO, "", 0, "event", None, None)
    formatter = telemetry.JsonFormatter("tested")
    with tracing.root("call") as call:
        assert json.load(io.StringIO(formatter.format(line)))["trace_id"] == call.trace_id
    assert "trace_id" not in json.loads(formatter.format(line))


def test_a_collector_that_is_gone_holds_nothing_up() -> None:
    # Nobody listens on port 1. The exporter itself would go on trying for ten seconds and more.
    code = """
from services.common import tracing
tracing.start("tested", "http://127.0.0.1:1")
with tracing.root("call"):
    pass
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "endpoint", ["collector:4317", "ftp://collector", "http://", "http://h:4317/v1/traces", "http://h:x"]
)
def test_an_endpoint_that_is_none_is_refused_by_its_name(endpoint: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        tracing.start("tested", endpoint)
    assert raised.value.field == "LIKENESS_OTLP_ENDPOINT"
