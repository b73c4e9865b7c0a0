"""Child processes: started, stopped, killed, and found again after their parent was killed."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.cluster.processes import StartError, free_port, kill_recorded, log_tail, spawn, stop
from tests.cluster.running import runs

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


async def test_a_process_is_asked_to_end(tmp_path: Path) -> None:
    process = await spawn(SLEEP, log=tmp_path / "logs" / "sleep.log")
    await stop(process, signal.SIGTERM, grace_seconds=30)
    assert process.returncode == -signal.SIGTERM
    await stop(process, signal.SIGTERM, grace_seconds=30)
    await stop(None, signal.SIGTERM, grace_seconds=30)


async def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "stubborn.log"
    process = await spawn(STUBBORN, log=log)
    while "up" not in log_tail(log):
        await asyncio.sleep(0.01)
    await stop(process, signal.SIGTERM, grace_seconds=0.1)
    assert process.returncode == -signal.SIGKILL


def test_what_a_killed_run_left_is_found_by_its_run_folder(tmp_path: Path) -> None:
    run_dir = str(tmp_path / "likeness-abc")
    by_argument = subprocess.Popen([*SLEEP, run_dir], stdout=subprocess.DEVNULL)
    by_environment = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL, env={"RUN": f"unix://{run_dir}/redis.sock"})
    innocent = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    try:
        # A recorded id of a program that has nothing to do with the run: ids are used again.
        assert kill_recorded([by_environment.pid, innocent.pid], run_dir) == 2
        assert not runs(by_argument.pid) and not runs(by_environment.pid)
        assert psutil.Process(innocent.pid).is_running()
        assert kill_recorded([innocent.pid], "") == 0
    finally:
        for process in (by_argument, by_environment, innocent):
            process.kill()
            process.wait()


def test_a_taken_port_is_not_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = free_port(port)
        assert chosen not in (0, port)
    assert free_port(port) == port
    assert free_port(port, taken=[port]) != port


def test_a_host_that_is_not_ours_has_no_free_port() -> None:
    with pytest.raises(StartError):
        free_port(0, "192.0.2.1")


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d \xff\n" % number for number in range(10_000)))
    assert log_tail(log, 2) == ["line 9998 \ufffd", "line 9999 \ufffd"]
    assert log_tail(tmp_path / "absent") == log_tail(None) == []
