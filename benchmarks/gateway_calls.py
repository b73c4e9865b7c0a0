"""What does the gateway itself cost a call?

    python -m benchmarks.gateway_calls --row NAME [--calls 6000] [--core 1]

Three processes on one core: a gateway with the interceptor, access control (keys off) and the catalog service; a
scorer's gRPC server with a fixed answer; and a client. Measured are `GetStatus`, which asks nobody (a no-op): calls a
second with 32 under way, and processor time of the gateway process a call, from which follows what a core gives that
the client does not share; and `ListMetrics`, which is one call of the scorer: the median of calls one after the other
through the gateway, less that of the same calls to the scorer directly. The way "bare" is the same servicer without
interceptor: what grpc.aio itself costs.
Each run adds its rows to benchmarks/results/gateway_calls.csv under its name, so that a change has a row before and one
after; gateway_calls.json has the last run. `--loop asyncio` runs without uvloop.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import uvloop
from google.protobuf.internal import api_implementation
from rich.console import Console

from likeness.gateway.v1 import catalog_service_pb2 as pb
from likeness.gateway.v1.catalog_service_pb2_grpc import CatalogServiceStub, add_CatalogServiceServicer_to_server
from likeness.scorer.v1 import scorer_service_pb2 as scorer_pb
from likeness.scorer.v1.scorer_service_pb2_grpc import (
    ScorerServiceServicer,
    ScorerServiceStub,
    add_ScorerServiceServicer_to_server,
)
from likeness.types.v1 import score_pb2
from services.common.profile import load_profile
from services.common.settings import Settings
from services.common.telemetry import configure_logging
from services.gateway.access.access import Access
from services.gateway.backends.clients import GeneratorClient, RefinerClient, ScorerClient
from services.gateway.health import HealthMonitor
from services.gateway.rpc.catalog_servicer import CatalogServicer
from services.gateway.rpc.interceptors import CallInterceptor
from services.gateway.server import SERVER_OPTIONS
from services.gateway.store.database import Database

RESULTS = Path(__file__).parent / "results"
UNDER_WAY = 32
NOWHERE = "127.0.0.1:1"
_METADATA = (("application", "scorer"),)


@dataclass(frozen=True)
class Row:
    """One way on one state of the code."""

    row: str
    way: str
    loop: str
    calls: int
    calls_per_second: float
    """With the client on the same core."""
    gateway_cpu_us_a_call: float
    calls_per_core_second: float
    """What the gateway's processor time allows where the client has a core of its own."""
    direct_p50_ms: float
    through_gateway_p50_ms: float
    added_p50_ms: float


def main() -> None:
    """Runs all and prints the rows, or serves as one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", default="now")
    parser.add_argument("--calls", type=int, default=6_000)
    parser.add_argument("--core", type=int, default=1)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    parser.add_argument("--serve", choices=("scorer", "gateway", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--scorer", default=NOWHERE, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    if options.serve:
        factory = uvloop.new_event_loop if options.loop == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(options.serve, options.scorer))
        return
    rows = [measure(options, "bare"), measure(options, "gateway")]
    path = RESULTS / "gateway_calls.csv"
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        if new:
            writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    summary = {
        "rows": [asdict(row) for row in rows],
        "setting": {
            "protobuf": api_implementation.Type(),
            "under_way": UNDER_WAY,
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
            "cpu": platform.processor() or platform.machine(),
        },
    }
    (RESULTS / "gateway_calls.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    Console().print_json(json.dumps(summary))


def measure(options: argparse.Namespace, way: str) -> Row:
    """One way."""
    with ExitStack() as stack:
        scorer, _ = stack.enter_context(started(options, "scorer"))
        gateway, process = stack.enter_context(started(options, way, scorer))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(options, way, scorer, gateway, process))


async def _measure(options: argparse.Namespace, way: str, scorer: str, gateway: str, process: psutil.Process) -> Row:
    async with grpc.aio.insecure_channel(gateway) as ours, grpc.aio.insecure_channel(scorer) as direct:
        catalog: Any = CatalogServiceStub(ours)
        backend: Any = ScorerServiceStub(direct)
        await many(lambda: catalog.GetStatus(pb.GetStatusRequest()), options.calls // 10)
        used, start = cpu_of(process), time.perf_counter()
        await many(lambda: catalog.GetStatus(pb.GetStatusRequest()), options.calls)
        elapsed, cpu = time.perf_counter() - start, cpu_of(process) - used
        direct_ms, through_ms = await alternately(
            lambda: backend.ListMetrics(scorer_pb.ListMetricsRequest(), metadata=_METADATA),
            lambda: catalog.ListMetrics(pb.ListMetricsRequest()),
            options.calls // 10,
        )
    return Row(
        row=options.row,
        way=way,
        loop=options.loop,
        calls=options.calls,
        calls_per_second=round(options.calls / elapsed, 1),
        gateway_cpu_us_a_call=round(1e6 * cpu / options.calls, 1),
        calls_per_core_second=round(options.calls / cpu, 1),
        direct_p50_ms=round(direct_ms, 3),
        through_gateway_p50_ms=round(through_ms, 3),
        added_p50_ms=round(through_ms - direct_ms, 3),
    )


async def many(call: Callable[[], Awaitable[object]], count: int) -> None:
    """So many calls, some of them under way at any time."""
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(caller() for _ in range(UNDER_WAY)))


async def alternately(
    first: Callable[[], Awaitable[object]], second: Callable[[], Awaitable[object]], count: int
) -> tuple[float, float]:
    """Medians in milliseconds of two kinds of calls in turns, so that both share the machine's moods."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for call, into in zip((first, second), times, strict=True):
            start = time.perf_counter()
            await call()
            into.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[0]), 1000 * statistics.median(times[1])


@contextmanager
def started(options: argparse.Namespace, part: str, scorer: str = NOWHERE) -> Iterator[tuple[str, psutil.Process]]:
    """A part in a process of its own: its address and the process."""
    arguments = ["--serve", part, "--scorer", scorer, "--loop", options.loop, "--core", str(options.core)]
    command = [sys.executable, "-m", "benchmarks.gateway_calls", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield f"127.0.0.1:{int(child.stdout.readline())}", psutil.Process(child.pid)
        finally:
            child.kill()


async def serve(part: str, scorer: str) -> None:
    """Serves a part until it is killed; prints its port."""
    configure_logging(part, "INFO")
    server: grpc.aio.Server
    if part == "scorer":
        server = grpc.aio.server(options=SERVER_OPTIONS)
        add_ScorerServiceServicer_to_server(_Scorer(), server)
    else:
        database = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
        access = Access(database, Settings(), require_keys=False)
        interceptors = (CallInterceptor(access.gate.admitted),) if part == "gateway" else ()
        server = grpc.aio.server(interceptors=interceptors, options=SERVER_OPTIONS)
        servicer = CatalogServicer(
            generator=GeneratorClient(NOWHERE),
            scorer=ScorerClient(scorer),
            refiner=RefinerClient(NOWHERE),
            monitor=HealthMonitor({}),
            profile=load_profile("embedded"),
            version="0",
        )
        add_CatalogServiceServicer_to_server(servicer, server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


class _Scorer(ScorerServiceServicer):
    """A scorer that knows its answer."""

    _answer = scorer_pb.ListMetricsResponse(metrics=[score_pb2.Metric(id="ssim", revision="1")])

    async def ListMetrics(self, _request: Any, _context: Any) -> scorer_pb.ListMetricsResponse:  # noqa: N802
        """One metric."""
        return self._answer


def cpu_of(process: psutil.Process) -> float:
    """Processor seconds that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
