"""Ray on a head and two workers, started as KubeRay starts them, and a gateway on a machine apart."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cluster.grpc_proxy import SERVICERS
from services.cluster.postgres import Postgres
from services.cluster.ray_cluster import APPLICATIONS, NODE_ENVIRONMENT
from services.cluster.redis_server import RedisServer
from services.common.profile import ROOT
from tests.cluster.nodes.machines import Machine, Network, network

GCS_PORT, SERVE_PORT, SERVE_HTTP_PORT, GATEWAY_PORT = 6379, 9000, 8000, 7400
WORKERS = ("worker-1", "worker-2")
WORKER_CPUS = 1
OBJECT_STORE_BYTES = 80 * 1024 * 1024
START_SECONDS = 500.0
"""Two cores load three models twice, beside whatever else runs."""


@dataclass(frozen=True)
class Nodes:
    """A deployment over five machines: head, two workers, gateway, and this one, where clients and stores are."""

    head: Machine
    workers: tuple[Machine, Machine]
    gateway_address: str
    database_url: str
    objects: Path

    async def serving(self) -> None:
        """Waits until the gateway finds everything well."""
        async with grpc.aio.insecure_channel(self.gateway_address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            while True:
                with suppress(grpc.aio.AioRpcError):
                    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                await asyncio.sleep(0.2)

    def replicas(self, application: str) -> list[list[int]]:
        """Process ids of an application's replicas on each worker."""
        return [worker.processes(f"ServeReplica:{application}") for worker in self.workers]


@asynccontextmanager
async def nodes() -> AsyncIterator[Nodes]:
    """Everything up, with a replica of each backend on each worker.

    Raises:
        NotDivisibleError: this machine may not be divided into namespaces.
    """
    async with AsyncExitStack() as stack:
        # Paths of sockets may have 107 characters: pytest's folders are too deep, and closed to PostgreSQL's user.
        prefix = "likeness-nodes-"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)))
        folder.chmod(0o711)
        net = await stack.enter_async_context(network(folder))
        postgres = Postgres(folder / "postgres", folder, folder / "postgres.log")
        redis = RedisServer(folder, folder / "redis.log")
        for store in (postgres, redis):
            stack.push_async_callback(store.stop)
            await store.start()
        token = secrets.token_hex(32)
        env = _clean() | NODE_ENVIRONMENT | _of_a_node(folder / "disk") | {"RAY_AUTH_TOKEN": token}
        head = await net.add("head", _ray(folder, "--head", f"--port={GCS_PORT}", "--num-cpus=0"), env)
        async with asyncio.timeout(START_SECONDS):
            await _started(net, head.name)
        joining = [f"--address={head.address}:{GCS_PORT}", f"--num-cpus={WORKER_CPUS}"]
        first, second = [await net.add(name, _ray(folder, *joining), env) for name in WORKERS]
        objects = folder / "objects"
        workers = (first, second)
        try:
            async with asyncio.timeout(START_SECONDS):
                await _deploy(folder, head, env)
                while not all(worker.processes(f"ServeReplica:{name}") for worker in workers for name in APPLICATIONS):
                    await asyncio.sleep(0.5)
                # Before the gateway looks for a proxy: one that has found another stays with it.
                async with grpc.aio.insecure_channel(f"{first.address}:{SERVE_PORT}") as proxy:
                    await proxy.channel_ready()
                gateway = await net.add(
                    "gateway",
                    [sys.executable, "-m", "services.gateway.app"],
                    _clean() | _of_the_gateway(folder, postgres.url, redis.url, objects, (first, head, second)),
                )
                running = Nodes(head, workers, f"{gateway.address}:{GATEWAY_PORT}", postgres.url, objects)
                await running.serving()
        except TimeoutError:
            said = {name: net.log(name) for name in ("head", *WORKERS, "gateway")}
            raise AssertionError(f"not up in {START_SECONDS:.0f} s: {said}") from None
        yield running


def _ray(folder: Path, *options: str) -> list[str | Path]:
    program = Path(sys.executable).parent / "ray"
    common = ["--node-ip-address={address}", f"--temp-dir={folder / 'disk/ray'}", "--disable-usage-stats", "--block"]
    # With a port of its own, for which Ray's client server need not wait: on a busy machine it does not wait for long.
    common += ["--runtime-env-agent-port=6380"]
    common += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--include-log-monitor=false"]
    if "--head" in options:
        common += ["--include-dashboard=false", "--no-monitor"]
    return [program, "start", *options, *common]


async def _started(net: Network, name: str) -> None:
    """Waits for Ray's head. A worker that does not find it in time ends."""
    while not any("Ray runtime started" in line for line in net.log(name)):
        await asyncio.sleep(0.2)


async def _deploy(folder: Path, head: Machine, env: Mapping[str, str]) -> None:
    """Hands Serve its configuration on the head, as the operator of a cluster does."""
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(_configuration()), encoding="utf-8")
    serve = Path(sys.executable).parent / "serve"
    command = head.enter([serve, "run", "--non-blocking", f"--address={head.address}:{GCS_PORT}", path])
    while True:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env, cwd=ROOT
        )
        await process.communicate()
        if process.returncode == 0:
            return
        # A head that is busy with its start does not always answer in the time that Ray gives it.
        await asyncio.sleep(1)


def _configuration() -> dict[str, Any]:
    """Serve's configuration: a replica of each backend on each worker, a proxy wherever there is a replica."""
    deployment = {"num_replicas": len(WORKERS), "max_replicas_per_node": 1}
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": SERVE_HTTP_PORT},
        "grpc_options": {"port": SERVE_PORT, "grpc_servicer_functions": SERVICERS},
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "applications": [
            {
                "name": name,
                "route_prefix": f"/{name}",
                "import_path": path,
                "deployments": [{"name": name, **deployment}],
            }
            for name, path in APPLICATIONS.items()
        ],
    }


def _of_a_node(disk: Path) -> dict[str, str]:
    # All of these are on the node's own disk.
    return {
        "LIKENESS_HOME": str(disk / "home"),
        "LIKENESS_TORCH_THREADS": "1",
        # Ray's own processes write there too, and end where the folder is missing.
        "PROMETHEUS_MULTIPROC_DIR": str(disk),
        "PYTHONPATH": str(ROOT),
    }


def _of_the_gateway(
    folder: Path, database_url: str, redis_url: str, objects: Path, proxies: tuple[Machine, ...]
) -> dict[str, str]:
    # The first that answers is taken: the proxy of the worker that will be lost.
    addresses = "ipv4:" + ",".join(f"{one.address}:{SERVE_PORT}" for one in proxies)
    settings = {
        "home": str(folder / "disk"),
        "database_url": database_url,
        "redis_url": redis_url,
        "object_store_url": objects.as_uri(),
        "gateway_host": "0.0.0.0",
        "require_keys": "false",
        "allow_plaintext": "true",
        "gateway_port": str(GATEWAY_PORT),
        **{f"{name}_address": addresses for name in APPLICATIONS},
    }
    return {"PYTHONPATH": str(ROOT)} | {f"LIKENESS_{name.upper()}": value for name, value in settings.items()}


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("LIKENESS_", "RAY_"))}
