"""serveConfigV2 of the overlays: Ray reads all of them, and deploys those of dev as they are written."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.k8s.render import OVERLAYS, load
from services.cluster.ray_cluster import ENVIRONMENT
from services.doctor.manifests.backends import serve_config
from services.doctor.manifests.model import name_of
from services.gateway.backends.clients import GeneratorClient, RefinerClient, ScorerClient

ROOT = Path(__file__).resolve().parents[3]


# Ray's own modules use what pydantic and others have given up.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ray_reads_every_configuration(overlay: str) -> None:
    from ray.serve.schema import ServeDeploySchema

    for service in load(overlay).of("RayService"):
        config = serve_config(service)
        read = ServeDeploySchema(**config)
        application = read.applications[0]
        assert (application.name, read.grpc_options.port) == (name_of(service), 9000)
        # Ray's schema lets unknown fields pass; what it has not read, it does not do.
        for section, model in (
            (config, read),
            (config["applications"][0], application),
            (config["applications"][0]["deployments"][0], application.deployments[0]),
            (config["grpc_options"], read.grpc_options),
            (config["http_options"], read.http_options),
        ):
            assert section.keys() <= type(model).model_fields.keys()


@pytest.fixture
def dev_address(tmp_path: Path) -> Iterator[str]:
    """Ray with the applications of dev, in the environment that its pods have."""
    for port in (8000, 9000):
        with socket.socket() as taken:
            if taken.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port}, which the configuration names, is taken on this machine")
    dev = load("dev")
    files = []
    for service in dev.of("RayService"):
        file = tmp_path / f"{name_of(service)}.yaml"
        file.write_text(service["spec"]["serveConfigV2"], encoding="utf-8")
        files.append(str(file))
    pod = next(pod for pod in dev.pods if pod.part == "generator")
    given = {name: value for name, value in dev.environment(pod.containers[0]).items() if value is not None}
    # Its home and metrics port are the pod's own business.
    given |= {"LIKENESS_HOME": str(tmp_path), "LIKENESS_METRICS_PORT": "0"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")}
    local = {**ENVIRONMENT, "RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.k8s.serving", *files],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**clean, **local, **given},
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            said = next((line for line in process.stdout if line.startswith(("ready", "failed"))), "it ended")
            assert said.strip() == "ready"
            yield "127.0.0.1:9000"
        finally:
            process.stdin.close()
            process.wait(timeout=60)


@pytest.mark.integration
@pytest.mark.timeout(360)
async def test_ray_deploys_dev_as_it_is_written(dev_address: str) -> None:
    for kind in (GeneratorClient, ScorerClient, RefinerClient):
        client = kind(dev_address, timeout_seconds=60)
        try:
            # Routed by the application's name; nothing else says where it goes.
            assert await client.list_models()
        finally:
            await client.close()
