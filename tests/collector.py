"""An OpenTelemetry collector for tests: a real gRPC server that keeps what it is sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Received:
    """A span as it arrived."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    failed: bool
    seconds: float
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Spans in the order in which they came; `text` is everything that was sent, to look for what must not be."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.text = ""
        self._spans: list[Received] = []
        self._came = threading.Condition()

    def Export(self, request: Any, context: Any) -> Any:
        with self._came:
            self.text += str(request)
            for resource in request.resource_spans:
                service = _values(resource.resource.attributes)["service.name"]
                self._spans += [_received(service, span) for scope in resource.scope_spans for span in scope.spans]
            self._came.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self, trace_id: str = "") -> list[Received]:
        """Spans so far, of one trace if it is given."""
        with self._came:
            return [one for one in self._spans if trace_id in ("", one.trace_id)]

    def wait(self, found: Callable[[list[Received]], bool], trace_id: str = "") -> list[Received]:
        """Spans as soon as they are as wanted; fails the test when they never are."""
        until = time.monotonic() + WAIT_SECONDS
        with self._came:
            while not found(spans := [one for one in self._spans if trace_id in ("", one.trace_id)]):
                if not self._came.wait(until - time.monotonic()):
                    raise AssertionError(f"spans that did come: {sorted({(o.service, o.name) for o in spans})}")
            return spans


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


def _received(service: str, span: Any) -> Received:
    return Received(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_values(span.attributes),
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
