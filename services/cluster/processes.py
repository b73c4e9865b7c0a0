"""Child processes that never outlive their parent, and finding those that a killed parent left."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

# gRPC's handlers around fork crash a process that has calls open. Children exec at once and need none of them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LOG_TAIL_LINES = 15

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartError(Exception):
    """A part of the cluster did not start; the text is for people."""

    def __init__(self, part: str, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.part = part
        self.log = log


async def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    user: int | None = None,
    group: int | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """Starts a command in a session of its own, output appended to a log file.

    Args:
        death_signal: What the child gets when this process dies, be it by SIGKILL (Linux).
        user: User id to run as; None stays.
        group: Group id to run as; None stays.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            # Ctrl-C in a terminal reaches this process only, which stops the others in order.
            start_new_session=True,
            preexec_fn=_with_death_signal(death_signal),
            pass_fds=pass_fds,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )


async def stop(process: asyncio.subprocess.Process | None, how: signal.Signals, *, grace_seconds: float) -> None:
    """Asks a process to end; kills it and its session if it does not in time. None and a dead one are fine."""
    if process is not None and process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            async with asyncio.timeout(grace_seconds):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def adopt_orphans() -> None:
    """Descendants whose parent dies become children of this process, so that `kill_descendants` finds them (Linux)."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> int:
    """Last resort: kills everything below this process and buries the dead; returns how many lived."""
    killed = kill(psutil.Process().children(recursive=True))
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return killed


def kill_recorded(pids: Iterable[int], run_dir: str) -> int:
    """Kills what a run that died left behind: recorded processes and those that name its run folder.

    A recorded id may belong to another program by now, so only processes that carry the run folder's path (in their
    arguments or environment) count.
    """
    if not run_dir:
        return 0
    recorded = set(pids)
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            mentions = any(run_dir in part for part in process.cmdline())
            if process.pid in recorded and not mentions:
                mentions = any(run_dir in value for value in process.environ().values())
            if mentions and process.pid != os.getpid():
                found += [process, *process.children(recursive=True)]
    return kill(found)


def kill(processes: Sequence[psutil.Process]) -> int:
    """Kills processes and waits for their end; zombies are dead already."""
    living = []
    for process in set(processes):
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                process.kill()
                living.append(process)
    psutil.wait_procs(living, timeout=5)
    return len(living)


def free_port(preferred: int, host: str = "127.0.0.1", *, taken: Iterable[int] = ()) -> int:
    """The preferred port if nothing listens there, else one that the system picks."""
    for port in (preferred, 0, 0, 0):
        if port and port in taken:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            chosen = int(probe.getsockname()[1])
        if chosen not in taken:
            return chosen
    raise StartError("ports", f"no free port on {host}")


def log_tail(path: Path | None, lines: int = LOG_TAIL_LINES) -> list[str]:
    """The last lines of a log."""
    if path is None:
        return []
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16_384))
        return file.read().decode("utf-8", "replace").splitlines()[-lines:]
    return []


def _with_death_signal(death_signal: signal.Signals) -> Callable[[], None] | None:
    libc = _libc
    if libc is None:
        return None
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        # The parent may have died before the line above.
        if os.getppid() != parent:
            os._exit(1)

    return prepare
