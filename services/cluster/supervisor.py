"""Starts the parts in parallel as far as they allow it, keeps them alive, and stops them in reverse."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from services.cluster import processes
from services.cluster.events import Reporter
from services.cluster.gateway_process import GatewayProcess
from services.cluster.postgres import Postgres
from services.cluster.processes import StartError, free_port
from services.cluster.ray_cluster import APPLICATIONS, RayCluster
from services.cluster.redis_server import RedisServer
from services.cluster.state import ClusterState, Home, make_run_dir, remove_run_dir
from services.common.profile import ROOT
from services.common.settings import Settings

PARENT_POLL_SECONDS = 0.5
SERVING_SECONDS = 180.0
"""How long the gateway may take to find everything well once the backends are up; a busy machine takes its time."""
RESTARTS_IN_A_ROW = 3
HEALTHY_SECONDS = 60.0
"""A part that lived this long before it died counts as well again."""


class Part(Protocol):
    """A child process of the cluster."""

    name: str
    process: asyncio.subprocess.Process | None

    async def start(self) -> None:
        """Starts it and waits until it is of use."""

    async def stop(self) -> None:
        """Stops it; fine if it never ran."""


class Supervisor:
    """One cluster, from nothing to nothing."""

    def __init__(self, home: Home, settings: Settings, reporter: Reporter, *, watch_parent: bool) -> None:
        self._home = home
        self._settings = settings
        self._reporter = reporter
        self._watch_parent = watch_parent
        self._stopping = asyncio.Event()
        self._parts: list[Part] = []
        self._started: dict[str, float] = {}
        self._run_dir = Path()
        self._state = ClusterState(pid=os.getpid(), profile=settings.profile)

    async def run(self) -> int:
        """Runs until SIGINT, SIGTERM, SIGHUP or the end of the parent; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stopping.set)
        processes.adopt_orphans()
        self._clear_leftovers()
        self._run_dir = make_run_dir()
        code = 0
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._stopping.wait())]
        if self._watch_parent:
            tasks.append(asyncio.create_task(self._wait_for_parent()))
        try:
            work = asyncio.create_task(self._start_and_keep())
            await asyncio.wait([work, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._reporter.stopping()
            tasks.append(work)
            if work.done():
                work.result()
        except StartError as error:
            self._reporter.failed(error)
            code = 1
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop()
        return code

    def _clear_leftovers(self) -> None:
        """What a run that was killed left: processes, sockets, its state."""
        old = self._home.read()
        if old is not None:
            processes.kill_recorded(old.processes.values(), old.run_dir)
            remove_run_dir(old.run_dir)
            self._home.clear()

    async def _start_and_keep(self) -> None:
        await self._start()
        self._reporter.ready(self._state, already_running=False)
        try:
            async with asyncio.TaskGroup() as group:
                for part in self._parts:
                    group.create_task(self._keep(part))
        except* StartError as failures:
            raise _first(failures) from None

    async def _start(self) -> None:
        gateway, stores, backends = self._plan()
        self._parts = [*stores, *backends, gateway]
        self._home.write(self._state)

        async def stores_then_gateway() -> None:
            async with asyncio.TaskGroup() as group:
                for store in stores:
                    group.create_task(self._start_part(store))
            self._reporter.part(gateway.name, "starting")
            await gateway.start()
            self._record(gateway)

        try:
            async with asyncio.TaskGroup() as group:
                for part in backends:
                    group.create_task(self._start_part(part))
                group.create_task(stores_then_gateway())
        except* StartError as failures:
            raise _first(failures) from None
        try:
            async with asyncio.timeout(SERVING_SECONDS):
                await gateway.wait_serving()
        except TimeoutError as error:
            message = "the gateway does not find everything well; see its log"
            raise StartError(gateway.name, message, self._home.logs / "gateway.log") from error
        self._reporter.part(gateway.name, "ready")
        self._state = replace(self._state, ready=True)
        self._home.write(self._state)

    def _plan(self) -> tuple[GatewayProcess, list[Part], list[Part]]:
        """Decides ports and URLs and makes the parts that the settings do not place elsewhere."""
        settings, home = self._settings, self._home
        metrics = home.path / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True)
        # Ray's workers find the packages wherever this process found them.
        python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics), "PYTHONPATH": python_path}
        stores: list[Part] = []
        database_url, redis_url = settings.database_url, settings.redis_url
        if database_url is None:
            postgres = Postgres(home.path / "postgres", self._run_dir, home.logs / "postgres.log")
            database_url = postgres.url
            stores.append(postgres)
        if redis_url is None:
            redis = RedisServer(self._run_dir, home.logs / "redis.log")
            redis_url = redis.url
            stores.append(redis)
        object_store_url = settings.object_store_url or (home.path / "objects").as_uri()

        grpc_port = free_port(settings.gateway_port, settings.gateway_host)
        http_port = free_port(settings.http_port, settings.gateway_host, taken=[grpc_port])
        # Serve's proxy listens on all addresses.
        serve_port = free_port(settings.serve_grpc_port, "", taken=[grpc_port, http_port])
        serve_http_port = free_port(settings.serve_http_port, taken=[grpc_port, http_port, serve_port])
        serve_address = f"127.0.0.1:{serve_port}"
        # A backend whose address is set runs elsewhere.
        here = {name: app for name, app in APPLICATIONS.items() if f"{name}_address" not in settings.model_fields_set}
        environment |= {
            "LIKENESS_HOME": str(home.path),
            "LIKENESS_PROFILE": settings.profile,
            "LIKENESS_DATABASE_URL": database_url,
            "LIKENESS_REDIS_URL": redis_url,
            "LIKENESS_OBJECT_STORE_URL": object_store_url,
            "LIKENESS_GATEWAY_PORT": str(grpc_port),
            "LIKENESS_HTTP_PORT": str(http_port),
            "LIKENESS_TORCH_THREADS": str(settings.torch_threads or _half_the_cores()),
            **{f"LIKENESS_{name.upper()}_ADDRESS": serve_address for name in here},
        }
        backends: list[Part] = []
        if here:
            ray = RayCluster(
                run_dir=self._run_dir,
                log=home.logs / "backends.log",
                environment=environment,
                grpc_port=serve_port,
                http_port=serve_http_port,
                applications=here,
                on_ready=lambda name: self._reporter.part(name, "ready"),
            )
            backends.append(ray)
        address = f"{settings.gateway_host}:{grpc_port}"
        gateway = GatewayProcess(address=address, log=home.logs / "gateway.log", environment=environment)
        self._state = replace(
            self._state,
            address=address,
            http_address=f"{settings.gateway_host}:{http_port}",
            backends_address=serve_address if here else "",
            database_url=database_url,
            redis_url=redis_url,
            object_store_url=object_store_url,
            run_dir=str(self._run_dir),
            log_dir=str(home.logs),
        )
        return gateway, stores, backends

    async def _start_part(self, part: Part) -> None:
        self._reporter.part(part.name, "starting")
        await part.start()
        self._record(part)
        # Ray reports itself, before its applications.
        if not isinstance(part, RayCluster):
            self._reporter.part(part.name, "ready")

    def _record(self, part: Part) -> None:
        if part.process is not None:
            self._started[part.name] = time.monotonic()
            self._state = replace(self._state, processes={**self._state.processes, part.name: part.process.pid})
            self._home.write(self._state)

    async def _keep(self, part: Part) -> None:
        """Starts a part again when it dies; gives up when it cannot stay alive."""
        deaths = 0
        while part.process is not None:
            code = await part.process.wait()
            deaths = 1 if time.monotonic() - self._started[part.name] > HEALTHY_SECONDS else deaths + 1
            self._reporter.part(part.name, "died", f"exit code {code}")
            if deaths > RESTARTS_IN_A_ROW:
                message = f"it died {deaths} times in a row"
                raise StartError(part.name, message, self._home.logs / f"{part.name}.log")
            await asyncio.sleep(0.5 * (deaths - 1))
            await self._start_part(part)

    async def _wait_for_parent(self) -> None:
        parent = os.getppid()
        while os.getppid() == parent:
            await asyncio.sleep(PARENT_POLL_SECONDS)

    async def _stop(self) -> None:
        # The gateway first: it answers running calls and lets go of everything else.
        for part in reversed(self._parts):
            await part.stop()
            if part.process is not None:
                self._reporter.part(part.name, "stopped")
        killed = processes.kill_descendants()
        remove_run_dir(str(self._run_dir))
        self._home.clear()
        self._home.unlock()
        self._reporter.stopped(killed=killed)


def _half_the_cores() -> int:
    """Threads of a replica here, where replicas, stores and gateway share the cores.

    Torch's threads spin while they wait for one another: one that finds no core makes the others wait the longer. On
    2 cores the embedded generator takes .33 s a picture with one thread, alone and beside a busy process; with two
    threads .27 s alone, and 2 to 3 s beside it.
    """
    return max(1, (os.cpu_count() or 1) // 2)


def _first(failures: BaseExceptionGroup[StartError]) -> StartError:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, StartError)
    return found
