"""The rules that the Dockerfiles keep, and what they name: settings, ports, files, modules."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from services.cluster import backend, probe
from services.cluster.ray_cluster import NODE_ENVIRONMENT
from services.common.settings import Settings
from services.common.telemetry import METRICS_PORT_VARIABLE
from tests.deploy.docker.dockerfile import BACKENDS, FOLDER, ROOT, SERVICES, Dockerfile, read

HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
OF_THE_CLUSTER = {"RAY_AUTH_MODE"}
"""Of `NODE_ENVIRONMENT`: what the backend's command sets by itself, and KubeRay by authOptions."""


@pytest.fixture(params=SERVICES)
def dockerfile(request: pytest.FixtureRequest) -> Dockerfile:
    return read(request.param)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint has no wheel for this machine")
def test_hadolint_finds_nothing(dockerfile: Dockerfile) -> None:
    assert HADOLINT is not None
    path = FOLDER / f"{dockerfile.service}.Dockerfile"
    done = subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_bases_are_versions_and_never_latest(dockerfile: Dockerfile) -> None:
    stages = {stage.name for stage in dockerfile.stages}
    for stage in dockerfile.stages:
        if stage.base in stages:
            continue
        argument = re.fullmatch(r"\$\{(\w+)\}", stage.base)
        assert argument, f"{stage.base}: bases are arguments, so that a build can pin them by digest"
        image = dockerfile.arguments[argument[1]]
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+-[\w.-]+(@sha256:[0-9a-f]{64})?", image), image


def test_the_service_is_no_root_and_in_exec_form(dockerfile: Dockerfile) -> None:
    assert dockerfile.last("USER") == "10001:10001"
    created = " ".join(run for stage in dockerfile.inherited() for run in stage.all("RUN"))
    assert "useradd --uid 10001 --gid 10001" in created
    assert dockerfile.last("CMD").startswith("[")
    assert dockerfile.last("STOPSIGNAL") == "SIGTERM"


def test_nothing_is_fetched_but_locked_wheels(dockerfile: Dockerfile) -> None:
    runs = [run for stage in dockerfile.stages for run in stage.all("RUN")]
    assert not [stage for stage in dockerfile.stages if stage.all("ADD")]
    assert not any(re.search(r"\b(curl|git clone)\b|wget [^\s&]*:", run) for run in runs)
    installs = [part for run in runs for part in run.split("&&") if "pip install" in part]
    assert len(installs) == 2
    for install in installs:
        assert "--require-hashes" in install and "--only-binary :all:" in install
        assert re.search(r"-r /locks/\w+\.lock$", install.strip())
    for run in runs:
        assert "apt-get install" not in run or (
            "--no-install-recommends" in run and run.endswith("rm -rf /var/lib/apt/lists/*")
        )


def test_what_is_copied_exists_and_gets_into_the_build(dockerfile: Dockerfile) -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*", "everything that is not named stays out: secrets, stores, caches"
    allowed = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    assert dockerfile.copied()
    for source, _ in dockerfile.copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, one) or source.startswith(f"{one}/") for one in allowed), source
    assert os.access(FOLDER / "likeness.sh", os.X_OK)


def test_settings_in_the_environment_exist(dockerfile: Dockerfile) -> None:
    known = {f"LIKENESS_{name.upper()}" for name in Settings.model_fields} | {METRICS_PORT_VARIABLE}
    found = {name for name in dockerfile.environment() if name.startswith("LIKENESS_")}
    assert found and found <= known


def test_ports_are_those_of_the_settings(dockerfile: Dockerfile) -> None:
    environment = dockerfile.environment()
    gateway = ("LIKENESS_GATEWAY_PORT", "LIKENESS_HTTP_PORT")
    names = gateway if dockerfile.service == "gateway" else ("LIKENESS_SERVE_GRPC_PORT", METRICS_PORT_VARIABLE)
    assert dockerfile.ports() == [int(environment[name]) for name in names]
    for name in (name for name in names if name != METRICS_PORT_VARIABLE):
        default = Settings.model_fields[name.removeprefix("LIKENESS_").lower()].default
        assert int(environment[name]) == default, "a checkout and a container have the same ports"


def test_what_must_be_written_is_a_volume_or_temporary(dockerfile: Dockerfile) -> None:
    volume = "/var/lib/likeness" if dockerfile.service == "gateway" else "/var/cache/likeness"
    assert dockerfile.last("VOLUME") == f'["{volume}"]'
    assert any(f"install -d -o 10001 -g 10001 -m 0750 {volume}" in run for run in dockerfile.inherited()[-1].all("RUN"))
    environment = dockerfile.environment()
    written = ("HOME", "LIKENESS_HOME", "HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME")
    for name in (name for name in written if name in environment):
        assert Path(environment[name]).is_relative_to(volume) or Path(environment[name]).is_relative_to("/tmp"), name
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_version_is_the_projects(dockerfile: Dockerfile) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in dockerfile.stages[-1].all("ARG")
    assert f"likeness/{dockerfile.service}:{version}" in dockerfile.text
    labels = dockerfile.labels()
    wanted = ("title", "description", "licenses", "version", "revision", "base.name")
    assert set(labels) == {f"org.opencontainers.image.{name}" for name in wanted}
    assert labels["org.opencontainers.image.title"] == f"likeness-{dockerfile.service}"


def test_command_and_health_check_are_entry_points(dockerfile: Dockerfile) -> None:
    service = dockerfile.service
    backend_or_gateway = ["services.gateway.app"] if service == "gateway" else ["services.cluster.backend", service]
    assert dockerfile.command("CMD") == ["python", "-m", *backend_or_gateway]
    assert dockerfile.command("HEALTHCHECK") == ["python", "-m", "services.cluster.probe", service]
    for command in (dockerfile.command("CMD"), dockerfile.command("HEALTHCHECK")):
        assert importlib.util.find_spec(command[2])
    assert service == "gateway" or (service in backend.APPLICATIONS and service in probe.LIST_METHODS)


def test_a_probe_ends_before_the_container_engine_gives_up(dockerfile: Dockerfile) -> None:
    timeout = re.search(r"--timeout=(\d+)s", dockerfile.last("HEALTHCHECK"))
    assert timeout and int(timeout[1]) > probe.TIMEOUT_SECONDS


@pytest.mark.parametrize("service", BACKENDS)
def test_ray_has_the_environment_it_has_in_a_checkout(service: str) -> None:
    environment = read(service).environment()
    for name, value in NODE_ENVIRONMENT.items():
        if name not in OF_THE_CLUSTER:
            assert environment[name] == value, name


@pytest.mark.parametrize("service", BACKENDS)
def test_cuda_is_the_version_that_torch_brings(service: str) -> None:
    pinned = re.search(r"^cuda-toolkit(?:\[[^]]*\])?==(\d+\.\d+)", (FOLDER / "backends.lock").read_text(), re.M)
    assert pinned
    assert read(service).arguments["CUDA_IMAGE"].startswith(f"nvidia/cuda:{pinned[1]}.")


def test_backends_share_their_layers() -> None:
    shared = {re.sub(r"^#.*\n", "", read(one).text.partition("FROM runtime")[0], flags=re.M) for one in BACKENDS}
    assert len(shared) == 1, "stages before the last one must be the same word for word"
    ends = {read(one).text.partition("FROM runtime")[2].replace(one, "SERVICE") for one in BACKENDS}
    assert len({re.sub(r"description=.*", "", end) for end in ends}) == 1
