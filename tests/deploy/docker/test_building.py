"""What builds the images: the bake file names every service, and pinning writes digests where tags are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.docker.dockerfile import FOLDER, ROOT, SERVICES, read

DIGEST = "sha256:" + "0123456789abcdef" * 4


def test_bake_builds_every_image_with_sbom() -> None:
    bake = json.loads((FOLDER / "docker-bake.json").read_text())
    assert bake["group"]["default"]["targets"] == list(SERVICES)
    common = bake["target"]["common"]
    assert "type=sbom" in common["attest"]
    for service in SERVICES:
        target = bake["target"][service]
        assert target["inherits"] == ["common"]
        assert (ROOT / target["dockerfile"]).is_file()
        assert target["tags"] == ["${PREFIX}/" + service + ":${TAG}"]
        declared = {argument.partition("=")[0] for argument in read(service).stages[-1].all("ARG")}
        assert set(common["args"]) <= declared
    assert f"VERSION={bake['variable']['TAG']['default']}" in read("gateway").stages[-1].all("ARG")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what pinning reads and writes."""
    shutil.copytree(FOLDER, tmp_path / "deploy/docker")
    shutil.copy(ROOT / "deploy/compose.yaml", tmp_path / "deploy")
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/pin_images.sh", tmp_path / "scripts")
    return tmp_path


def pin(checkout: Path, answer: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with a docker that knows one digest."""
    tools = checkout / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "docker").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tools / "docker").chmod(0o755)
    return subprocess.run(
        [checkout / "scripts/pin_images.sh"],
        env={"PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_pinning_gives_every_image_its_digest_and_changes_nothing_else(checkout: Path) -> None:
    files = [*sorted((checkout / "deploy/docker").glob("*.Dockerfile")), checkout / "deploy/compose.yaml"]
    before = [path.read_text() for path in files]
    first = pin(checkout, DIGEST)
    assert first.returncode == 0, first.stderr
    pinned = [path.read_text() for path in files]
    for path, text in zip(files, pinned, strict=True):
        for image in re.findall(r"(?:ARG \w+_IMAGE=|image: (?!likeness/))(\S+)", text):
            assert image.endswith(f"@{DIGEST}"), f"{path.name}: {image}"
    assert [re.sub(r"@sha256:\w+", "", text) for text in pinned] == [re.sub(r"@sha256:\w+", "", one) for one in before]
    assert not list(checkout.rglob("*.before"))
    assert pin(checkout, DIGEST.replace("0", "1")).returncode == 0
    again = [path.read_text() for path in files]
    assert again == [text.replace(DIGEST, DIGEST.replace("0", "1")) for text in pinned]


def test_pinning_stops_where_a_digest_cannot_be_had(checkout: Path) -> None:
    stopped = pin(checkout, "")
    assert stopped.returncode == 1
    assert "no digest" in stopped.stderr
