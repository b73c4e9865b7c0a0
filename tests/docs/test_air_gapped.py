"""The documented profile with models from folders loads where nothing else can be reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.profile import ROOT
from tests.docs.test_operations import shown_profile

FOLDERS = {
    "my-generator": "generator-embedded",
    "my-clip": "clip-embedded",
    "my-captioner": "captioner-embedded",
}
ALONE = """
import socket, sys
def refuse(self, address, *_):
    raise AssertionError(f"somebody wanted to reach {address}")
for family in ("connect", "connect_ex"):
    setattr(socket.socket, family, refuse)
socket.getaddrinfo = lambda host, *_, **__: refuse(None, host)
from services.cluster.models import main
sys.exit(main(["fetch"]))
"""


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_models_from_folders_are_read_without_a_network(tmp_path: Path) -> None:
    models = tmp_path / "srv/models"
    for name, source in FOLDERS.items():
        shutil.copytree(ROOT / "models" / source, models / name)
    profile = tmp_path / "local.yaml"
    profile.write_text(shown_profile().replace("/srv/models", str(models)))
    done = fetched(profile, tmp_path / "hub")
    assert done.returncode == 0, done.stderr
    assert "somebody wanted" not in done.stderr
    assert [path.name for path in (tmp_path / "hub").iterdir() if path.name.startswith(".fetched-local-")]


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    profile = tmp_path / "local.yaml"
    profile.write_text(shown_profile())
    done = fetched(profile, tmp_path / "hub")
    assert done.returncode == 1 and "my-generator" in done.stderr
    assert not list((tmp_path / "hub").glob(".fetched-*"))


def fetched(profile: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Reads all models of a profile, in a process that reaches nobody."""
    cache.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LIKENESS_", "HF_"))}
    environment |= {"LIKENESS_PROFILE": str(profile), "HF_HOME": str(cache)}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-c", ALONE], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
