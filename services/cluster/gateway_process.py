"""The gateway as a child process."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.cluster.processes import StartError, spawn, stop

PART = "gateway"
POLL_SECONDS = 0.1
STOP_SECONDS = 28.0
"""A gateway drains in less."""


class GatewayProcess:
    """One gateway at a fixed address. `start` may be called again after the process died."""

    name = PART

    def __init__(self, *, address: str, log: Path, environment: Mapping[str, str]) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.address = address
        self._log = log
        self._environment = environment

    async def start(self) -> None:
        """Starts the gateway; it may begin before the backends answer.

        Raises:
            StartError: it ended; its log says why.
        """
        command = [sys.executable, "-m", "services.gateway.app"]
        self.process = await spawn(command, log=self._log, env=self._environment)

    async def wait_serving(self) -> None:
        """Waits until grpc.health.v1 says SERVING for the whole gateway.

        Raises:
            StartError: the gateway ended; its log says why.
        """
        # Imported after all children are started: forking a process that runs gRPC threads is not safe.
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        async with grpc.aio.insecure_channel(self.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            while self.process is not None and self.process.returncode is None:
                try:
                    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.aio.AioRpcError:
                    pass
                await asyncio.sleep(POLL_SECONDS)
        raise StartError(PART, "the gateway ended while it started", self._log)

    async def stop(self) -> None:
        """Drains and stops the gateway."""
        await stop(self.process, signal.SIGTERM, grace_seconds=STOP_SECONDS)
