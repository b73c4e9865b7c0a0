"""An embedded cluster, or Ray Serve with one application of it, for the length of a benchmark."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from services.cluster.ray_cluster import RayCluster


@contextlib.contextmanager
def embedded_cluster() -> Iterator[str]:
    """Starts the cluster in a folder of its own, yields the gateway's address, stops everything."""
    with tempfile.TemporaryDirectory(prefix="lk-") as home:
        command = [sys.executable, "-m", "services.cluster.up", "--home", home, "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                said = []
                for line in process.stdout:
                    event = json.loads(line)
                    said.append(line)
                    if event.get("event") == "ready":
                        yield str(event["address"])
                        break
                else:
                    raise RuntimeError("the embedded cluster did not start:\n" + "".join(said))
            finally:
                process.terminate()
                process.wait(timeout=60)


class Serving(NamedTuple):
    """Ray Serve with one application."""

    application: str
    address: str
    """host:port of the gRPC proxy."""
    process: int
    """Id of the process that Ray runs under."""

    def replicas(self) -> list[int]:
        """Process ids of the replicas, those that still start or already end among them."""
        title = f"ray::ServeReplica:{self.application}"
        found = []
        for process in psutil.Process(self.process).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "".join(process.cmdline()[:1]).startswith(title):
                    found.append(process.pid)
        return found


@contextlib.contextmanager
def serving(application: str, builder: str, **settings: object) -> Iterator[Serving]:
    """Starts Ray Serve in a folder of its own with an application, and stops everything.

    Args:
        application: Its name.
        builder: What makes it, as module:function.
        settings: Over those of the environment, by name.
    """
    with (
        tempfile.TemporaryDirectory(prefix="lk-", ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as stack,
    ):
        runner = stack.enter_context(asyncio.Runner())
        grpc_port, http_port = _free_port(), _free_port()
        cluster = RayCluster(
            run_dir=Path(folder),
            log=Path(folder) / "ray.log",
            environment=os.environ | {f"LIKENESS_{name.upper()}": str(value) for name, value in settings.items()},
            grpc_port=grpc_port,
            http_port=http_port,
            applications={application: builder},
            on_ready=lambda _: None,
        )
        stack.callback(lambda: runner.run(cluster.stop()))
        runner.run(cluster.start())
        assert cluster.process is not None
        yield Serving(application, f"127.0.0.1:{grpc_port}", cluster.process.pid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
