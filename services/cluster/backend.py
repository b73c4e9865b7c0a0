"""One backend with a Ray of its own, in the foreground: `python -m services.cluster.backend generator`.

What a backend's container runs where no KubeRay starts Ray. Ends with SIGTERM or SIGINT (exit status 0), and with
status 1 when the backend cannot start or Ray dies, for whoever runs containers to start it again.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from services.cluster.ray_cluster import APPLICATIONS, ENVIRONMENT
from services.cluster.ray_serving import NotDeployedError, run
from services.cluster.state import make_run_dir, remove_run_dir
from services.common.profile import ROOT
from services.common.settings import Settings
from services.common.telemetry import MULTIPROCESS_VARIABLE, configure_logging, get_logger

log = get_logger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.cluster.backend", description=__doc__.splitlines()[0])
    parser.add_argument("backend", choices=sorted(APPLICATIONS))
    backend: str = parser.parse_args(arguments).backend
    try:
        settings = Settings()
    except ValidationError as error:
        configure_logging(backend, "INFO")
        found = error.errors(include_url=False, include_context=False, include_input=False)
        log.error("backend_not_started", problems=[{"setting": one["loc"], "problem": one["msg"]} for one in found])
        return 1
    configure_logging(backend, settings.log_level)
    run_dir = make_run_dir()
    _prepare(run_dir / "metrics")
    try:
        run(
            {backend: APPLICATIONS[backend]},
            settings.serve_grpc_port,
            settings.serve_http_port,
            temp_dir=str(run_dir / "ray"),
            say=lambda event: log.info("part_ready", part=event["part"], state=event["state"]),
        )
    except NotDeployedError as error:
        log.error("backend_not_started", problem=str(error))
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        remove_run_dir(str(run_dir))


def _prepare(metrics: Path) -> None:
    """The environment that Ray and its workers are started with."""
    # The token keeps others who share this network namespace out of Ray's ports on loopback.
    os.environ.update(ENVIRONMENT, RAY_AUTH_TOKEN=secrets.token_hex(32))
    # Ray's workers find the packages wherever this process found them.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # All replicas' metrics on one port. The folder must be there: Ray's own processes write into it too, or die.
    metrics.mkdir()
    os.environ[MULTIPROCESS_VARIABLE] = str(metrics)


if __name__ == "__main__":
    sys.exit(main())
