"""`likeness doctor --k8s` and `make k8s`, as they are called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.k8s.render import rendered
from services.doctor.manifests import CHECKS

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.integration


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "likeness.cli.main", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=110)


def test_a_good_folder_ends_with_0_and_one_line_a_finding(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(rendered("production").read_text(encoding="utf-8"), encoding="utf-8")
    done = doctor("--k8s", str(tmp_path), "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert {one["check"] for one in found} == set(CHECKS)
    assert all(one.keys() == {"check", "state", "message", "advice"} for one in found)


def test_a_bad_folder_ends_with_1_and_advice(tmp_path: Path) -> None:
    text = rendered("dev").read_text(encoding="utf-8").replace("scorer-serve-svc:9000", "scorer-svc:9000")
    (tmp_path / "all.yaml").write_text(text, encoding="utf-8")
    done = doctor("--k8s", str(tmp_path))
    assert done.returncode == 1
    assert "LIKENESS_SCORER_ADDRESS names scorer-svc, and there is no Service scorer-svc" in done.stdout
    assert "1 problem, no warnings" in done.stdout
