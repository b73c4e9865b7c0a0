"""Processes of a deployment that can be killed and started again, one class a kind; what they are to each other is
`deployment.py`'s."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cluster.gateway_process import GatewayProcess
from services.cluster.processes import StartError, log_tail, spawn, stop
from services.common.profile import ROOT

LISTEN_SECONDS = 240.0
GATEWAY_SECONDS = 240.0
"""On a machine that does much else, Python alone takes a minute to start."""


class Part(Protocol):
    """A process that can be started, also again after it died."""

    name: str

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        """The process, once it was started."""

    async def start(self) -> None:
        """Starts it and waits until it is of use."""

    async def stop(self) -> None:
        """Ends it in order; fine if it does not run."""


class LightBackend:
    """One of the light backends, always at the same address.

    Args:
        name: "generator", "scorer" or "refiner".
        port: Where it listens.
        log: File for its output.
        options: Further arguments of `reliability.light.serve`.
    """

    def __init__(self, name: str, port: int, log: Path, options: Sequence[str] = ()) -> None:
        self.name = name
        self.process: asyncio.subprocess.Process | None = None
        self.address = f"127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "reliability.light.serve", name, "--port", str(port), *options]
        self._log = log

    async def start(self) -> None:
        """Starts it and waits until it listens."""
        self.process = await spawn(self._command, log=self._log, cwd=ROOT)
        await _listening(self.name, self.process, self.address, self._log)

    async def stop(self) -> None:
        """Ends it."""
        await stop(self.process, signal.SIGTERM, grace_seconds=2)


class Gateway:
    """A gateway, always at the same address."""

    def __init__(self, name: str, port: int, log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.address = f"127.0.0.1:{port}"
        self.environment = environment
        self._log = log
        self._gateway = GatewayProcess(address=self.address, log=log, environment=environment)

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        """The process, once it was started."""
        return self._gateway.process

    async def start(self) -> None:
        """Starts it and waits until it listens; what it needs may be away."""
        await self._gateway.start()
        assert self.process is not None
        await _listening(self.name, self.process, self.address, self._log)

    async def stop(self) -> None:
        """Drains it."""
        await self._gateway.stop()

    async def health(self, service: str = "") -> str:
        """What grpc.health.v1 says of a service ("" for the whole gateway): SERVING or NOT_SERVING."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    async def wait_health(self, wanted: str, service: str = "", *, seconds: float = GATEWAY_SECONDS) -> None:
        """Waits until health says so; TimeoutError if it does not in time."""
        async with asyncio.timeout(seconds):
            while await self._health_or_none(service) != wanted:
                await asyncio.sleep(0.1)

    async def _health_or_none(self, service: str) -> str | None:
        try:
            return await self.health(service)
        except grpc.aio.AioRpcError:
            return None


def kill(part: Part) -> None:
    """SIGKILL for a part's process; fine if it is dead already."""
    if part.process is not None and part.process.returncode is None:
        os.kill(part.process.pid, signal.SIGKILL)


def wake(part: Part) -> None:
    """SIGCONT for a part's process; nothing happens if it does not sleep, or is dead."""
    if part.process is not None and part.process.returncode is None:
        os.kill(part.process.pid, signal.SIGCONT)


async def _listening(name: str, process: asyncio.subprocess.Process, address: str, log: Path) -> None:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(LISTEN_SECONDS):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection(host, int(port))
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                return
    except TimeoutError:
        pass
    raise StartError(name, f"{name} does not listen:\n" + "\n".join(log_tail(log)), log)
