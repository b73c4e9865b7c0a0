"""Traces: what one call or loop did in every process, as spans sent to an OpenTelemetry collector.

Nothing is imported, made or sent unless `start` was called with an endpoint. Then a trace begins where `root` or
`continued` is used: at a call of the gateway, or at a run of a loop; `span`, `begin` and `past` add to the trace they
are in, and do nothing outside of one. Backends only go on with the traces of their callers, in W3C trace context.

The current span is kept here and not in OpenTelemetry's own context, whose tokens complain in the log when an async
generator is closed in another context than the one it ran in.

Spans carry ids, counts, names and reasons. Prompts are in them only where LIKENESS_LOG_PROMPTS asks for it, pictures
never.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from services.common.errors import InvalidInputError, LikenessError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OpenTelemetrySpan

FLUSH_SECONDS = 3.0
"""How long `stop` waits for the collector to take what is left."""

Kind = Literal["internal", "server", "client"]
Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]
NOTHING: Attributes = {}
_OUR_FAULTS = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"})


class Span:
    """One piece of work of a trace; without an inner span it stands for no trace, and nothing happens to it."""

    __slots__ = ("_has_failed", "_inner")

    def __init__(self, inner: OpenTelemetrySpan | None = None) -> None:
        self._inner = inner
        self._has_failed = False

    def __bool__(self) -> bool:
        return self._inner is not None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits; "" outside of a trace."""
        return "" if self._inner is None else f"{self._inner.get_span_context().trace_id:032x}"

    def set(self, **values: Value) -> None:
        """Adds attributes; `likeness.` is put before each name."""
        if self._inner is not None:
            self._inner.set_attributes({f"likeness.{name}": value for name, value in values.items()})

    def failed(self, error: BaseException) -> None:
        """Marks the span with the reason of its first error; messages may say too much.

        What the caller did wrong, and a cancellation, leave the span's own status alone.
        """
        if self._inner is None or self._has_failed:
            return
        self._has_failed = True
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return self._inner.set_attribute("error.type", "cancelled")
        reason = error.reason.value if isinstance(error, LikenessError) else type(error).__name__
        self._inner.set_attribute("error.type", reason)
        if not isinstance(error, LikenessError) or error.code in _OUR_FAULTS:
            from opentelemetry.trace import StatusCode

            self._inner.set_status(StatusCode.ERROR)

    def answered(self, code: str) -> None:
        """Notes the status of an RPC, such as NOT_FOUND."""
        if self._inner is not None:
            self._inner.set_attribute("rpc.response.status_code", code)

    def end(self) -> None:
        """Ends it; only for spans of `begin`."""
        if self._inner is not None:
            self._inner.end()

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Metadata that lets the called process go on with the trace: traceparent and tracestate."""
        if self._inner is None:
            return ()
        from opentelemetry.trace import set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, set_span_in_context(self._inner))
        return tuple(carrier.items())


_NO_SPAN = Span()
_OUTSIDE = nullcontext(_NO_SPAN)
_current: ContextVar[Span] = ContextVar("likeness_span", default=_NO_SPAN)
_provider: TracerProvider | None = None


def start(service: str, endpoint: str | None) -> None:
    """Sends this process's spans to a collector from now on; without an endpoint nothing happens.

    OpenTelemetry's own variables say the rest, where somebody wants it otherwise: OTEL_TRACES_SAMPLER and its _ARG,
    OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE and _COMPRESSION, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*.

    Args:
        service: Name that every span carries, such as "gateway".
        endpoint: http://host:port of the collector's OTLP over gRPC, or https:// for TLS.

    Raises:
        InvalidInputError: the endpoint is no such address.
    """
    global _provider
    if not endpoint:
        return
    check_endpoint(endpoint)
    stop()
    # A second and some memory: only processes that trace pay for it.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"likeness-{service}", "service.namespace": "likeness"})
    # Its own way of stopping at exit would wait half a minute for a collector that is gone.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    atexit.register(stop)
    _provider = provider


def stop() -> None:
    """Sends what is left, for FLUSH_SECONDS at most, and traces no more."""
    global _provider
    provider, _provider = _provider, None
    if provider is None:
        return
    atexit.unregister(stop)
    ending = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
    ending.start()
    ending.join(FLUSH_SECONDS)


def check_endpoint(endpoint: str) -> None:
    """Raises InvalidInputError unless it is http:// or https:// with a host, and nothing behind the port."""
    allowed = "http://host:port or https://host:port of a collector's OTLP over gRPC"
    try:
        parts = urlsplit(endpoint)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        fine = False
    if not fine or parts.query or parts.fragment:
        raise InvalidInputError("LIKENESS_OTLP_ENDPOINT", "is no address of a collector", allowed=allowed)


def current() -> Span:
    """The span that this task or thread is in."""
    return _current.get()


def root(name: str, *, parent: Span = _NO_SPAN, attributes: Attributes = NOTHING) -> AbstractContextManager[Span]:
    """A span that begins a trace, or goes on with its parent's."""
    return _during(_made(name, "internal", parent, attributes))


def served(method: str, metadata: Iterable[Any] | None, *, begins: bool = False) -> AbstractContextManager[Span]:
    """The span of an RPC that is being answered.

    Args:
        method: Full name, such as "likeness.scorer.v1.ScorerService/Embed".
        metadata: Pairs of the call, where the caller's trace context is.
        begins: Whether a call without a trace begins one.
    """
    return _during(_served(method, metadata, begins))


def span(name: str, *, attributes: Attributes = NOTHING, parent: Span | None = None) -> AbstractContextManager[Span]:
    """A part of the current span, or of `parent`; nothing outside of a trace."""
    return _during(begin(name, attributes=attributes, parent=parent))


def begin(name: str, *, kind: Kind = "internal", attributes: Attributes = NOTHING, parent: Span | None = None) -> Span:
    """As `span`, but the caller ends it, and it does not become the current one: for async generators."""
    above = _current.get() if parent is None else parent
    return _made(name, kind, above, attributes) if above else _NO_SPAN


def past(name: str, parent: Span, began: float, ended: float, *, attributes: Attributes = NOTHING) -> None:
    """A part of `parent` that is over; times by time.perf_counter."""
    if not parent:
        return
    # A thread that is kept waiting between its looks at the two clocks finds too little.
    since = max(time.time_ns() - time.perf_counter_ns() for _ in range(3))
    one = _made(name, "internal", parent, attributes, began_ns=since + round(began * 1e9))
    if one._inner is not None:
        one._inner.end(since + round(ended * 1e9))


def _served(method: str, metadata: Iterable[Any] | None, begins: bool) -> Span:
    if _provider is None:
        return _NO_SPAN
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {key: value for key, value in metadata or () if key in ("traceparent", "tracestate")}
    remote = get_current_span(TraceContextTextMapPropagator().extract(carrier))
    known = remote.get_span_context().is_valid
    if not known and not begins:
        return _NO_SPAN
    return _made(method, "server", Span(remote) if known else _NO_SPAN, rpc_attributes(method))


def rpc_attributes(method: str) -> Attributes:
    """Attributes of an RPC by its full name, as OpenTelemetry's conventions have them."""
    return {"rpc.system.name": "grpc", "rpc.method": method}


def _made(name: str, kind: Kind, parent: Span, attributes: Attributes, *, began_ns: int | None = None) -> Span:
    if _provider is None:
        return _NO_SPAN
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, set_span_in_context

    context = Context() if parent._inner is None else set_span_in_context(parent._inner, Context())
    inner = _provider.get_tracer("likeness").start_span(
        name, context, kind=SpanKind[kind.upper()], attributes=dict(attributes), start_time=began_ns
    )
    return Span(inner)


def _during(one: Span) -> AbstractContextManager[Span]:
    return _as_current(one) if one else _OUTSIDE


@contextmanager
def _as_current(one: Span) -> Iterator[Span]:
    """Makes a span the current one while the block runs, and ends it."""
    token = _current.set(one)
    try:
        yield one
    except BaseException as error:
        one.failed(error)
        raise
    finally:
        # As in telemetry.bind: an async generator may be closed in another context.
        with suppress(ValueError):
            _current.reset(token)
        one.end()
