"""Ray with the backends on Serve, in this process: the child of `RayCluster`, or a backend's own (`backend.py`).

As a child it says on a pipe, one JSON object a line, what is up.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from services.cluster.grpc_proxy import SERVICERS
from services.cluster.ray_cluster import PART
from services.cluster.resources import need_of, too_few_gpus
from services.common.settings import MEBIBYTE

OBJECT_STORE_BYTES = 128 * MEBIBYTE
"""Serve moves requests over gRPC here; Ray's object store holds next to nothing."""
MIN_CPUS = 2
INIT_TRIES = 3
POLL_SECONDS = 0.2
WATCH_SECONDS = 1.0

_ERROR_LINE = re.compile(r"^(?:[\w.]+\.)?(\w+(?:Error|Exception)): (.+)$", re.MULTILINE)

Say = Callable[[dict[str, str]], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the child."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--temp-dir", required=True)
    parser.add_argument("--events-fd", type=int, required=True)
    parser.add_argument("--application", action="append", default=[], help="name=module:builder")
    options = parser.parse_args(arguments)
    # Ray's own processes must not hold the pipe open.
    os.set_inheritable(options.events_fd, False)
    events = os.fdopen(options.events_fd, "w")

    def say(event: dict[str, str]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    applications = dict(one.split("=", 1) for one in options.application)
    try:
        run(applications, options.grpc_port, options.http_port, temp_dir=options.temp_dir, say=say)
    except NotDeployedError as error:
        say({"part": error.application, "state": "failed", "message": str(error)})
        raise SystemExit(1) from None


def run(applications: Mapping[str, str], grpc_port: int, http_port: int, *, temp_dir: str, say: Say) -> NoReturn:
    """Runs Ray with the applications in this process until SIGTERM or the end of one of Ray's own processes.

    Args:
        applications: By name, "module:builder".
        grpc_port: Where Serve's gRPC proxy listens, on all addresses.
        http_port: Where Serve's HTTP proxy listens, on loopback.
        temp_dir: Folder of Ray's sockets and logs, with a short path.
        say: Is told of every part that is ready, and of all of them ("all_ready") at last.

    Raises:
        NotDeployedError: an application cannot start.
        SystemExit: the end.
    """
    signal.signal(signal.SIGTERM, _leave)
    import ray

    try:
        _serve(applications, grpc_port, http_port, temp_dir, say)
        say({"part": PART, "state": "all_ready"})
        _watch()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Replicas hold nothing that must be saved: ending Ray ends them, faster than Serve's own shutdown.
        ray.shutdown()


def _watch() -> NoReturn:
    """Waits for the end. Serve cannot go on without one of Ray's own processes: the supervisor starts all anew."""
    import ray

    # Ray has no public word for it; replicas that die are Serve's to replace and are not among these.
    node: Any = ray._private.worker._global_node
    while not (dead := node.dead_processes()):
        time.sleep(WATCH_SECONDS)
    raise SystemExit(f"{', '.join(str(kind) for kind, _ in dead)} died")


class NotDeployedError(Exception):
    """An application cannot start; the message says why."""

    def __init__(self, application: str, message: str) -> None:
        super().__init__(message)
        self.application = application


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


def _serve(applications: Mapping[str, str], grpc_port: int, http_port: int, temp_dir: str, say: Say) -> None:
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions, ProxyLocation, gRPCOptions
    from ray.serve.schema import LoggingConfig

    # Imports and model lookups come before Ray: a profile that cannot work fails at once.
    built = {name: _build(name, path) for name, path in applications.items()}
    needs = {name: need_of(application) for name, application in built.items()}
    _init_ray(temp_dir, math.ceil(sum(need.most_replicas * need.cpus for need in needs.values())))
    # Ray has put its own handler in place.
    signal.signal(signal.SIGTERM, _leave)
    say({"part": PART, "state": "ready"})
    gpus: float = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
    for name, need in needs.items():
        # Serve would wait for more, for ever.
        if reason := too_few_gpus(name, need, gpus):
            raise NotDeployedError(name, reason)
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    serve.start(
        proxy_location=ProxyLocation.HeadOnly,
        http_options=HTTPOptions(host="127.0.0.1", port=http_port),
        grpc_options=gRPCOptions(port=grpc_port, grpc_servicer_functions=SERVICERS),
        logging_config=quiet,
    )
    targets = [
        serve.RunTarget(application, name=name, route_prefix=f"/{name}", logging_config=quiet)
        for name, application in built.items()
    ]
    serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    _wait(set(built), say)


def _init_ray(temp_dir: str, needed_cpus: int) -> None:
    import ray

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for tries_left in range(INIT_TRIES - 1, -1, -1):
        try:
            ray.init(
                # Ray only counts them: replicas that are asked for share what there is.
                num_cpus=max(MIN_CPUS, cpus, needed_cpus),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                logging_level=logging.WARNING,
                log_to_driver=True,
                # No network is needed, and one that changes under a laptop does not matter.
                _node_ip_address="127.0.0.1",
                _temp_dir=temp_dir,
            )
            return
        except Exception:
            # Ray gives its own processes 30 s, too little on a machine that is busy with other work.
            if not tries_left:
                raise
            ray.shutdown()


def _build(name: str, path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)({})
    except Exception as error:
        raise NotDeployedError(name, f"{type(error).__name__}: {error}") from error


def _wait(waiting: set[str], say: Say) -> None:
    from ray import serve

    while waiting:
        applications = serve.status().applications
        for name in sorted(waiting & applications.keys()):
            overview = applications[name]
            messages = [overview.message, *(one.message for one in overview.deployments.values())]
            # Serve would try a constructor again and again; on one machine it fails the same way each time.
            failed = next((text for text in messages if "failed to start" in text), None)
            if failed or overview.status.value in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise NotDeployedError(name, _reason(failed or overview.message))
            if overview.status.value == "RUNNING":
                waiting.discard(name)
                say({"part": name, "state": "ready"})
        time.sleep(POLL_SECONDS)


def _reason(text: str) -> str:
    """The error at the end of a traceback, without the traceback."""
    errors = _ERROR_LINE.findall(text)
    return f"{errors[-1][0]}: {errors[-1][1]}" if errors else text.strip()[:500]


if __name__ == "__main__":
    main()
