"""Ray with the backends on Serve as a child process, so that Ray's signal handlers and imports stay there."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from services.cluster.processes import StartError, spawn, stop
from services.common.settings import MAX_MESSAGE_BYTES, MEBIBYTE

PART = "ray"
APPLICATIONS = {name: f"services.{name}.deployment:app" for name in ("generator", "scorer", "refiner")}
START_TIMEOUT_SECONDS = 600.0
"""Loading large models from a slow disk takes minutes."""

NODE_ENVIRONMENT = {
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(MAX_MESSAGE_BYTES),
    # Between proxy and replica a request travels with an envelope around it.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(MAX_MESSAGE_BYTES + MEBIBYTE),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # /dev/shm is small in many containers; the object store is hardly used.
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Ray makes its workers nicer by 15, so that proxy and replicas starve beside any other work of the machine. They
    # have the niceness of who starts the cluster, as gateway and stores do.
    "RAY_worker_niceness": "0",
    # Where a proxy takes longer to start, on a machine that is busy, Serve would end it and start another, for ever.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}
"""Of Ray on each node of a cluster."""
# Despite its name it holds on every system: 0 lets Ray use the loopback address that it is given, and nodes join none.
ENVIRONMENT = NODE_ENVIRONMENT | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Of Ray on one machine that has no others."""


class RayCluster:
    """The child process. `start` may be called again after it died."""

    name = PART

    def __init__(
        self,
        *,
        run_dir: Path,
        log: Path,
        environment: Mapping[str, str],
        grpc_port: int,
        http_port: int,
        applications: Mapping[str, str],
        on_ready: Callable[[str], None],
    ) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self._run_dir = run_dir
        self._log = log
        self._environment = environment
        self._options = [f"--grpc-port={grpc_port}", f"--http-port={http_port}", f"--temp-dir={run_dir / 'ray'}"]
        self._options += [f"--application={name}={path}" for name, path in applications.items()]
        self._on_ready = on_ready

    async def start(self) -> None:
        """Starts Ray and the applications and waits until all of them answer; `on_ready` hears of each.

        Raises:
            StartError: Ray or an application did not start; the message says why.
        """
        reading, writing = os.pipe()
        try:
            self.process = await spawn(
                [sys.executable, "-m", "services.cluster.ray_serving", f"--events-fd={writing}", *self._options],
                log=self._log,
                # The token keeps other users of the machine out of Ray's ports on loopback.
                env={**self._environment, **ENVIRONMENT, "RAY_AUTH_TOKEN": secrets.token_hex(32)},
                pass_fds=(writing,),
            )
        finally:
            os.close(writing)
        with open(reading, "rb", buffering=0) as pipe:  # noqa: PTH123 - a file descriptor
            reader = asyncio.StreamReader()
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
            try:
                async with asyncio.timeout(START_TIMEOUT_SECONDS):
                    await self._follow(reader)
            except TimeoutError as error:
                message = f"the backends were not up in {START_TIMEOUT_SECONDS:.0f} s"
                raise StartError(PART, message, self._log) from error
            finally:
                transport.close()

    async def stop(self) -> None:
        """Stops the applications and Ray."""
        await stop(self.process, signal.SIGTERM, grace_seconds=20)

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            event: dict[str, str] = json.loads(line)
            if event["state"] == "failed":
                raise StartError(event["part"], event["message"], self._log)
            if event["state"] == "all_ready":
                return
            self._on_ready(event["part"])
        raise StartError(PART, "Ray ended while it started", self._log)
