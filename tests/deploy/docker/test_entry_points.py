"""The images' commands, run here as processes: the copied files and the locked packages are enough for them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.deploy.docker.dockerfile import FOLDER, ROOT, Dockerfile, read

ONLY_LOCKED = """
import re, runpy, sys
from importlib.metadata import packages_distributions
from pathlib import Path

lock = Path(sys.argv[1]).read_text()
held = {name.lower() for name in re.findall(r"^([\\w.-]+)(?:\\[[^]]*\\])?==", lock, re.M)}
modules = packages_distributions()
outside = {
    module for module, names in modules.items() if not held & {name.lower().replace("_", "-") for name in names}
} - {"likeness", "services"}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in outside:
            raise ModuleNotFoundError(f"No module named {name!r} in the image", name=name)


sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""Runs a module as in an environment that holds a lock's packages and no others."""


def laid_out(dockerfile: Dockerfile, folder: Path) -> Path:
    """The folder that the Dockerfile's COPY instructions make of the checkout, as /opt/likeness."""
    for source, destination in dockerfile.copied():
        if destination.startswith("/"):
            continue
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / destination)
        else:
            shutil.copy(ROOT / source, folder / destination)
    return folder


def environment_of(dockerfile: Dockerfile, folder: Path, **others: str) -> dict[str, str]:
    """ENV of the image, with this machine's paths in place of the image's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LIKENESS_", "RAY_"))}
    image = {name: value for name, value in dockerfile.environment().items() if name != "PATH"}
    moved = {
        name: re.sub(r"^/(var/lib/likeness|var/cache/likeness|tmp)\b", str(folder / "written"), value)
        for name, value in image.items()
    }
    return {**kept, **moved, "PYTHONPATH": str(folder), **others}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("module", ["services.gateway.app", "services.doctor", "services.backup", "likeness.cli.main"])
def test_the_gateways_image_has_all_that_its_programs_import(module: str, tmp_path: Path) -> None:
    dockerfile = read("gateway")
    folder = laid_out(dockerfile, tmp_path)
    command = [sys.executable, "-c", ONLY_LOCKED, str(FOLDER / "gateway.lock"), module]
    done = subprocess.run(
        command + (["--help"] if module in ("services.backup", "likeness.cli.main") else []),
        env=environment_of(dockerfile, folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if module == "services.gateway.app":
        # Everything is imported, the profile would be next.
        assert "LIKENESS_REDIS_URL: is not set" in done.stderr, done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_a_backends_container_starts_answers_and_stops(tmp_path: Path) -> None:
    """The image's CMD, HEALTHCHECK and STOPSIGNAL as written, with the embedded models on the CPU."""
    dockerfile = read("scorer")
    folder = laid_out(dockerfile, tmp_path)
    (folder / "written").mkdir()
    ports = {"LIKENESS_SERVE_GRPC_PORT": str(free_port()), "LIKENESS_SERVE_HTTP_PORT": str(free_port())}
    environment = environment_of(
        dockerfile, folder, **ports, LIKENESS_METRICS_PORT="0", LIKENESS_DEVICE="cpu", LIKENESS_TORCH_THREADS="1"
    )

    def probe() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *dockerfile.command("HEALTHCHECK")[1:]]
        return subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )

    assert probe().returncode == 1, "nothing can answer yet"
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, *dockerfile.command("CMD")[1:]]
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)
    children: list[psutil.Process] = []
    try:
        while b"all_ready" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
        # A container engine asks several times too: on a busy machine an answer may take longer than a probe.
        tries = [probe()]
        while tries[-1].returncode and len(tries) < 5:
            tries.append(probe())
        assert tries[-1].returncode == 0, tries[-1].stderr
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(getattr(signal, dockerfile.last("STOPSIGNAL")))
        assert process.wait(timeout=120) == 0
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive
    finally:
        if process.poll() is None:
            children = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in children:
            if one.is_running():
                one.kill()
        process.wait()
