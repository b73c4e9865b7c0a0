"""Whether the service of this container answers: `python -m services.cluster.probe gateway`, or a backend.

For HEALTHCHECK. Exit status 0 if it does, else 1 with a line on stderr. Reads the ports from the settings, as the
service does.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

from services.common.settings import Settings

TIMEOUT_SECONDS = 4.0
LOOPBACK = "127.0.0.1"
LIST_METHODS = {
    "generator": "/likeness.generator.v1.GeneratorService/ListModels",
    "scorer": "/likeness.scorer.v1.ScorerService/ListMetrics",
    "refiner": "/likeness.refiner.v1.RefinerService/ListStrategies",
}
"""What costs a replica nothing to answer, by backend."""


def gateway(settings: Settings) -> str:
    """What is wrong with the gateway; "" if it serves.

    Asks /healthz, which goes by the same states as grpc.health.v1: the gRPC port may want a certificate of its caller.
    """
    url = f"http://{_host(settings)}:{settings.http_port}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return f"the gateway does not serve: {error.read().decode(errors='replace')}"
    except OSError as error:
        return f"{url} does not answer: {error}"


def backend(settings: Settings, name: str) -> str:
    """What is wrong with a backend; "" if a replica of it answers, or has too much to do to.

    Not Serve's own Healthz: that is well before the first replica is.
    """
    # Only here: the gateway's probe runs every few seconds and needs no gRPC.
    import grpc

    address = f"{LOOPBACK}:{settings.serve_grpc_port}"
    with grpc.insecure_channel(address) as channel:
        # Without generated code: the request is empty, and the answer does not matter.
        method: Callable[..., bytes] = channel.unary_unary(LIST_METHODS[name])
        try:
            method(b"", timeout=TIMEOUT_SECONDS, metadata=[("application", name)])
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return ""
            return f"the {name} at {address} does not answer: {error.code().name} {error.details()}"
    return ""


def _host(settings: Settings) -> str:
    """Where this machine reaches the gateway: loopback, unless it listens on one other address only."""
    host = settings.gateway_host.strip("[]")
    if host in ("0.0.0.0", "::", "localhost"):
        return LOOPBACK
    return f"[{host}]" if ":" in host else host


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.cluster.probe", description=__doc__.splitlines()[0])
    parser.add_argument("service", choices=("gateway", *LIST_METHODS))
    service: str = parser.parse_args(arguments).service
    settings = Settings()
    if problem := gateway(settings) if service == "gateway" else backend(settings, service):
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
