"""A Ray of its own that deploys Serve configurations as KubeRay does, but for the dashboard in between.

`python -m tests.deploy.k8s.serving FILE...`: prints "ready" when all applications of the files run, "failed: WHY" else;
ends with its standard input. KubeRay gives every configuration a cluster of its own; here they share one.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

WAIT_SECONDS = 270.0


def main(files: list[str]) -> None:
    """Entry point."""
    import ray
    from ray import serve
    from ray.serve._private.api import serve_start
    from ray.serve.schema import ServeDeploySchema

    from services.cluster.ray_serving import _init_ray

    configs = [ServeDeploySchema(**yaml.safe_load(Path(file).read_text(encoding="utf-8"))) for file in files]
    options = configs[0].model_copy(deep=True)
    options.applications = [one for config in configs for one in config.applications]
    options.grpc_options.grpc_servicer_functions = [
        function for config in configs for function in config.grpc_options.grpc_servicer_functions
    ]
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        # Patient, as the embedded cluster is: a busy machine needs several tries.
        _init_ray(folder, needed_cpus=4)
        try:
            # As Ray's dashboard does with what KubeRay sends it (dashboard/modules/serve/serve_head.py).
            client: Any = serve_start(
                http_options={**options.http_options.model_dump(), "location": options.proxy_location},
                grpc_options=options.grpc_options.model_dump(),
                global_logging_config=options.logging_config,
            )
            client.deploy_apps(options)
            print(_outcome(serve), flush=True)
            sys.stdin.read()
        finally:
            ray.shutdown()


def _outcome(serve: Any) -> str:
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        applications = serve.status().applications
        states = {name: one.status.value for name, one in applications.items()}
        if states and set(states.values()) == {"RUNNING"}:
            return "ready"
        if "DEPLOY_FAILED" in states.values():
            return f"failed: { {name: one.message[-1000:] for name, one in applications.items()} }".replace("\n", " ")
        time.sleep(0.2)
    return f"failed: {states} after {WAIT_SECONDS:.0f} s"


if __name__ == "__main__":
    main(sys.argv[1:])
