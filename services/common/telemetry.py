"""Structured logs and Prometheus metrics, the same in every service.

Logs are one JSON object a line on stderr: time, level, service, logger, event, the trace_id where there is a trace,
then what is bound (request_id, session_id) and the event's own fields. Prompts and picture bytes are never logged at
INFO or above.

Metrics are named `likeness_<service>_<what>_<unit>`. With PROMETHEUS_MULTIPROC_DIR set before a process starts (the
cluster runner does so), every process of the node writes into that folder and any of them can render all.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from services.common import tracing
from services.common.errors import LikenessError

METRICS_PORT_VARIABLE = "LIKENESS_METRICS_PORT"
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of `render_metrics`."""

TAKE_OVER_SECONDS = 5.0
"""Between two tries for a port of metrics that another process of the pod holds; less than a scrape interval."""

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Buckets of latency histograms: from a cached score to a whole loop."""

GaugeMode = Literal["livesum", "livemax", "livemin", "livemostrecent"]
_Wrapper = TypeVar("_Wrapper", bound=MetricWrapperBase)

_bound: ContextVar[Mapping[str, str]] = ContextVar("likeness_log_context", default={})  # noqa: B039 - never mutated
_metrics: dict[str, MetricWrapperBase] = {}


# Logs


class JsonFormatter(logging.Formatter):
    """One JSON object a line; also formats records of other libraries, their text as `event`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "event": record.getMessage(),
            **({"trace_id": trace_id} if (trace_id := tracing.current().trace_id) else {}),
            **_bound.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class Logger:
    """Events with fields: `log.info("candidate_scored", candidate_id="r1c2")`."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: object) -> None:
        """Detail for developers."""
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Something an operator may want to follow."""
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Something works worse than it should."""
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Something failed."""
        self._emit(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """Something failed; adds the traceback of the exception that is being handled."""
        self._emit(logging.ERROR, event, fields, with_traceback=True)

    def _emit(self, level: int, event: str, fields: dict[str, object], *, with_traceback: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            # The text goes in as an argument, so that a per cent sign in it is not taken for a format.
            self._logger.log(level, "%s", event, exc_info=with_traceback, extra={"fields": fields}, stacklevel=3)


def get_logger(name: str) -> Logger:
    """Logger of a module; call it with `__name__`."""
    return Logger(logging.getLogger(name))


def configure_logging(service: str, level: str) -> None:
    """Sends this process's logs to stderr as JSON. Calling it again replaces the service name and level.

    Args:
        service: Name that every line carries, such as "gateway".
        level: DEBUG, INFO, WARNING or ERROR.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, JsonFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())


@contextmanager
def bind(**values: str) -> Iterator[None]:
    """Adds values (request_id, session_id) to every log line inside; empty values are left out.

    Holds across `await` and in `asyncio.to_thread`, for this task only.
    """
    token = _bound.set({**_bound.get(), **{key: value for key, value in values.items() if value}})
    try:
        yield
    finally:
        # An async generator may be closed in another context than the one it ran in; that one has nothing to restore.
        with suppress(ValueError):
            _bound.reset(token)


# Metrics


def counter(name: str, doc: str, labels: Iterable[str] = ()) -> Counter:
    """Counter of this process; the same object for the same name. `_total` is added to the name when rendered."""
    return _once(Counter, name, tuple(labels), lambda: Counter(name, doc, tuple(labels)))


def gauge(name: str, doc: str, labels: Iterable[str] = (), *, mode: GaugeMode = "livesum") -> Gauge:
    """Gauge of this process; `mode` says how the values of several living processes become one."""
    return _once(Gauge, name, tuple(labels), lambda: Gauge(name, doc, tuple(labels), multiprocess_mode=mode))


def histogram(
    name: str, doc: str, labels: Iterable[str] = (), *, buckets: tuple[float, ...] = SECONDS_BUCKETS
) -> Histogram:
    """Histogram of this process; the same object for the same name."""
    return _once(Histogram, name, tuple(labels), lambda: Histogram(name, doc, tuple(labels), buckets=buckets))


@dataclass
class RpcCall:
    """A running RPC. Set `code` where the status does not follow from an exception."""

    code: str = "OK"


@contextmanager
def rpc_timer(service: str, method: str) -> Iterator[RpcCall]:
    """Records the latency of an RPC in `likeness_<service>_rpc_seconds` by method and status code."""
    seconds = histogram(f"likeness_{service}_rpc_seconds", "Latency of RPCs by method and code.", ("method", "code"))
    call = RpcCall()
    start = time.perf_counter()
    try:
        yield call
    except BaseException as error:
        if call.code == "OK":
            call.code = _code_name(error)
        raise
    finally:
        seconds.labels(method, call.code).observe(time.perf_counter() - start)


def render_metrics() -> bytes:
    """All metrics in the Prometheus text format: of this process, or of all processes of the node."""
    return generate_latest(_registry())


def serve_metrics_if_asked() -> int | None:
    """Starts an HTTP server with /metrics on LIKENESS_METRICS_PORT, for pods; returns the port, or None.

    Another process of the pod may hold the port already; then it serves this one's metrics too, and this one takes the
    port over when that ends: a replica that takes the place of another starts before the other stops.
    """
    port = int(os.environ.get(METRICS_PORT_VARIABLE) or 0)
    if not port:
        return None
    try:
        start_http_server(port, registry=_registry())
    except OSError as error:
        get_logger(__name__).info("metrics_port_taken", port=port, problem=str(error))
        threading.Thread(target=_take_over, args=(port,), name="metrics-port", daemon=True).start()
        return None
    return port


def _take_over(port: int) -> None:
    while True:
        time.sleep(TAKE_OVER_SECONDS)
        try:
            start_http_server(port, registry=_registry())
        except OSError:
            continue
        get_logger(__name__).info("metrics_port_taken_over", port=port)
        return


def _once(kind: type[_Wrapper], name: str, labels: tuple[str, ...], make: Callable[[], _Wrapper]) -> _Wrapper:
    known = _metrics.get(name)
    if known is None:
        if folder := os.environ.get(MULTIPROCESS_VARIABLE):
            Path(folder).mkdir(parents=True, exist_ok=True)
        known = _metrics[name] = make()
    if not isinstance(known, kind) or known._labelnames != labels:
        raise TypeError(f"metric {name} exists as another kind or with other labels")
    return known


def _code_name(error: BaseException) -> str:
    if isinstance(error, LikenessError):
        return error.code
    return "CANCELLED" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "INTERNAL"


def _registry() -> CollectorRegistry:
    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    if not folder or not Path(folder).is_dir():
        return REGISTRY
    registry = CollectorRegistry()
    registry.register(_NodeCollector(folder))
    return registry


class _NodeCollector(Collector):
    """Likeness metrics of all processes of the node. Ray's own processes inherit the folder and write there too."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._all = MultiProcessCollector(None, path=folder)  # type: ignore[no-untyped-call]

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known only when the folder is read."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Merged metrics; gauges of processes that are gone are left out."""
        for path in self._folder.glob("gauge_live*_*.db"):
            if not _is_alive(int(path.stem.rpartition("_")[2])):
                path.unlink(missing_ok=True)
        collected: Iterable[Metric] = self._all.collect()  # type: ignore[no-untyped-call]
        return [metric for metric in collected if metric.name.startswith("likeness_")]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
