"""The harness itself: what it starts ends with it, however it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from services.cluster.state import remove_run_dir
from services.common.profile import ROOT

GONE_SECONDS = 30


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_chaos_leaves_no_process_behind(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "reliability.chaos", "--loops", "2", "--out", str(tmp_path / "chaos.json")]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert b"up: " in await process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 7
    (run_dir,) = {Path(folder).parent for one in children if (folder := _socket_folder(one))}
    assert run_dir.is_dir()
    process.send_signal(how)
    await process.wait()
    _, living = await asyncio.to_thread(psutil.wait_procs, children, timeout=GONE_SECONDS)
    assert not living
    assert not (tmp_path / "chaos.json").exists()
    # Nobody is left to remove files after SIGKILL.
    assert run_dir.exists() is (how is signal.SIGKILL)
    remove_run_dir(str(run_dir))


def _socket_folder(process: psutil.Process) -> str:
    """Where a PostgreSQL has its socket, by its command line; "" for other processes, and for one that has ended."""
    # PostgreSQL's own children come and go, and are called as it is for a moment.
    with suppress(psutil.Error):
        command = process.cmdline()
        if "-k" in command:
            return command[command.index("-k") + 1]
    return ""
