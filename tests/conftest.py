"""What tests of several folders share: the one embedded cluster of a session, and the pictogram font."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from world.glyphs import FontMissingError, font_path

if TYPE_CHECKING:
    from tests.collector import Collector

# As services/cluster/processes.py does, which many tests import too late: gRPC reads it when it is first imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# The same examples each time, nothing kept on disk, and no clock on a machine that does other work. Here, since modules
# of tests take the profile that there is when they are imported.
hypothesis.settings.register_profile(
    "likeness",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("likeness")

STOP_SECONDS = 90
LPIPS_WEIGHTS = Path(__file__).resolve().parents[2] / "shared/weights/squeezenet1_1"
"""Real weights beside the checkout, where there are some."""


@dataclass(frozen=True)
class Cluster:
    """A running embedded cluster."""

    address: str
    """host:port of the gateway's gRPC API."""
    http_address: str
    """host:port of /metrics and /healthz."""
    backends_address: str
    """host:port of Ray Serve's gRPC proxy."""
    home: Path
    processes: dict[str, int]
    """Process ids by part as the cluster came up. Parts that die are started again; cluster.json has the latest."""
    collector: Collector
    """What all its processes send their traces to."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the shared cluster come last: while it is up, it takes half a processor from the others."""
    items.sort(key=lambda item: "cluster" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def font() -> Path:
    """The pictogram font; tests that draw are skipped without it."""
    try:
        return font_path()
    except FontMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """An OpenTelemetry collector for processes that outlive a test."""
    from tests.collector import collecting

    with collecting() as one:
        yield one


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, collector: Collector) -> Iterator[Cluster]:
    """A cluster of its own home, with a gateway that answers and backends that are loaded. It traces."""
    folder = tempfile.TemporaryDirectory(prefix="likeness-test-")
    request.addfinalizer(folder.cleanup)
    home = Path(folder.name)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LIKENESS_")}
    if LPIPS_WEIGHTS.is_dir():
        environment["LIKENESS_LPIPS_WEIGHTS_DIR"] = str(LPIPS_WEIGHTS)
    environment |= {"LIKENESS_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "500"}
    command = [sys.executable, "-m", "services.cluster.up", "--home", folder.name, "--json"]
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                event = json.loads(line)
                said.append(line)
                if event["event"] == "ready":
                    break
            else:
                pytest.fail("the cluster did not start:\n" + "".join(said))
            yield Cluster(
                address=event["address"],
                http_address=event["http_address"],
                backends_address=event["backends_address"],
                home=home,
                processes=event["processes"],
                collector=collector,
            )
        finally:
            process.terminate()
            process.stdout.read()
            process.wait(timeout=STOP_SECONDS)
