"""`services.cluster.up` as a child process, with the backends at the seam instead of Ray."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 200


@contextmanager
def home_folder() -> Iterator[Path]:
    """A temporary home. Not under pytest's own folder, which other sessions of root close to PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="likeness-test-") as folder:
        yield Path(folder)


class Up:
    """A running `up` and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    async def event(self, kind: str, **values: object) -> dict[str, Any]:
        """The next event of a kind with these values; everything on the way is kept in `events`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            async for line in self.process.stdout:
                event: dict[str, Any] = json.loads(line)
                self.events.append(event)
                if event["event"] == kind and all(event[key] == value for key, value in values.items()):
                    return event
        raise AssertionError(f"no {kind} {values} among {self.events}")

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stops it; returns the exit code."""
        self.process.send_signal(how)
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            self.events += [json.loads(line) async for line in self.process.stdout]
            return await self.process.wait()


def environment(backends_address: str | None, **settings: str) -> dict[str, str]:
    """Environment in which no Ray is needed; settings by name."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LIKENESS_")}
    if backends_address is not None:
        settings = {
            **{f"{name}_address": backends_address for name in ("generator", "scorer", "refiner")},
            **settings,
        }
    return {**clean, **{f"LIKENESS_{name.upper()}": value for name, value in settings.items()}}


@asynccontextmanager
async def up(home: Path, *options: str, env: dict[str, str]) -> AsyncIterator[Up]:
    """Starts it; kills it at the end if it still runs."""
    command = [sys.executable, "-m", "services.cluster.up", "--home", str(home), "--json", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=env)
    try:
        yield Up(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def all_gone(pids: list[int]) -> None:
    """Waits until none of the processes runs."""
    async with asyncio.timeout(WAIT_SECONDS):
        while any(runs(pid) for pid in pids):
            await asyncio.sleep(0.05)


def command_of(process: psutil.Process) -> str:
    """The command line of a process; empty if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def runs(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
