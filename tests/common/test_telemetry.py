"""Logs and metrics as an operator sees them: lines on stderr, text of /metrics."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common import telemetry
from services.common.errors import NotFoundError, Reason

log = telemetry.get_logger("tests.telemetry")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Lines]:
    """Where the log lines go; `read` parses them."""
    root = logging.getLogger()
    level, lines = root.level, _Lines()
    monkeypatch.setattr(sys, "stderr", lines.stream)
    telemetry.configure_logging("testing", "INFO")
    yield lines
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if isinstance(handler.formatter, telemetry.JsonFormatter)]:
        root.removeHandler(handler)


class _Lines:
    def __init__(self) -> None:
        self.stream = io.StringIO()

    def read(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def test_a_line_carries_service_event_bound_ids_and_fields(lines: _Lines) -> None:
    with telemetry.bind(request_id="q1", session_id=""):
        log.info("candidate_scored 100%", candidate_id="r1c2", path=Path("x"))
    log.debug("not_shown")
    (line,) = lines.read()
    assert line.pop("time")
    assert line == {
        "level": "INFO",
        "service": "testing",
        "logger": "tests.telemetry",
        "event": "candidate_scored 100%",
        "request_id": "q1",
        "candidate_id": "r1c2",
        "path": "x",
    }


def test_a_traceback_stays_on_one_line(lines: _Lines) -> None:
    try:
        raise KeyError("inner")
    except KeyError:
        log.exception("broken")
    (line,) = lines.read()
    assert "KeyError: 'inner'" in str(line["traceback"])


def test_logs_of_other_libraries_become_events(lines: _Lines) -> None:
    logging.getLogger("grpc").warning("port %d taken", 7)
    assert lines.read()[0]["event"] == "port 7 taken"


def test_configuring_twice_writes_each_line_once(lines: _Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", lines.stream)
    telemetry.configure_logging("again", "INFO")
    log.info("once")
    assert [line["service"] for line in lines.read()] == ["again"]


async def test_bound_ids_belong_to_their_task_and_reach_threads(lines: _Lines) -> None:
    async def one(name: str) -> None:
        with telemetry.bind(request_id=name):
            await asyncio.sleep(0)
            await asyncio.to_thread(log.info, name)

    await asyncio.gather(one("a"), one("b"))
    log.info("outside")
    seen = {line["event"]: line.get("request_id") for line in lines.read()}
    assert seen == {"a": "a", "b": "b", "outside": None}


async def test_a_generator_closed_by_another_task_does_not_fail() -> None:
    async def stream() -> object:
        with telemetry.bind(request_id="q"):
            yield 1

    events = stream()
    await anext(events)
    await asyncio.create_task(events.aclose())


def test_a_metric_is_made_once_and_guards_its_labels() -> None:
    first = telemetry.counter("likeness_testing_once", "x", ["a"])
    assert telemetry.counter("likeness_testing_once", "x", ("a",)) is first
    with pytest.raises(TypeError):
        telemetry.counter("likeness_testing_once", "x", ("b",))
    with pytest.raises(TypeError):
        telemetry.gauge("likeness_testing_once", "x", ("a",))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFoundError(Reason.MODEL_NOT_FOUND, "model", "x"), "NOT_FOUND"),
        (asyncio.CancelledError(), "CANCELLED"),
        (RuntimeError("x"), "INTERNAL"),
    ],
)
def test_an_rpc_is_counted_under_its_code(error: BaseException, code: str) -> None:
    before = _rpc_count(code)
    with pytest.raises(type(error)), telemetry.rpc_timer("testing", "Get"):
        raise error
    assert _rpc_count(code) == before + 1


def test_an_rpc_that_works_is_ok_unless_it_says_otherwise() -> None:
    before, before_lost = _rpc_count("OK"), _rpc_count("DATA_LOSS")
    with telemetry.rpc_timer("testing", "Get"):
        pass
    with telemetry.rpc_timer("testing", "Get") as call:
        call.code = "DATA_LOSS"
    assert (_rpc_count("OK"), _rpc_count("DATA_LOSS")) == (before + 1, before_lost + 1)


def test_one_process_renders_all_processes_of_the_node(tmp_path: Path) -> None:
    folder = tmp_path / "not-made-yet"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    writer = """
from prometheus_client import Counter
from services.common import telemetry
telemetry.counter("likeness_testing_jobs", "x", ["kind"]).labels("a").inc(2)
telemetry.gauge("likeness_testing_queue", "x").set(5)
with telemetry.rpc_timer("testing", "Get"): pass
Counter("ray_internal", "not ours").inc()
print(telemetry.render_metrics().decode())
"""
    for _ in range(2):
        text = subprocess.run(
            [sys.executable, "-c", writer], env=environment, check=True, capture_output=True, text=True
        ).stdout
    assert 'likeness_testing_jobs_total{kind="a"} 4.0' in text
    assert 'likeness_testing_rpc_seconds_count{code="OK",method="Get"} 2.0' in text
    assert "likeness_testing_queue 5.0" in text, "the gauge of the process that ended must be gone"
    assert "ray_internal" not in text


def test_no_port_means_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIKENESS_METRICS_PORT", raising=False)
    assert telemetry.serve_metrics_if_asked() is None


def test_a_metrics_port_is_taken_over_when_its_holder_ends() -> None:
    code = """
import os, socket, time, urllib.request
from services.common import telemetry
telemetry.TAKE_OVER_SECONDS = 0.05
holder = socket.create_server(("", 0))
port = holder.getsockname()[1]
os.environ["LIKENESS_METRICS_PORT"] = str(port)
telemetry.counter("likeness_testing_taken", "Tested.").inc()
assert telemetry.serve_metrics_if_asked() is None
holder.close()
while True:
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        break
    except OSError:
        time.sleep(0.05)
assert "likeness_testing_taken_total 1.0" in text, text
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def _rpc_count(code: str) -> float:
    wanted = f'likeness_testing_rpc_seconds_count{{code="{code}",method="Get"}} '
    text = telemetry.render_metrics().decode()
    return next((float(line[len(wanted) :]) for line in text.splitlines() if line.startswith(wanted)), 0.0)
