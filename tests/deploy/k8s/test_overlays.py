"""The overlays as they are rendered: what is kept is what kustomize makes, and every check passes on all of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.k8s.render import FOLDER, OVERLAYS, load, rendered
from deploy.k8s.summary import summary
from services.cluster.ray_cluster import APPLICATIONS
from services.common.settings import MAX_MESSAGE_BYTES, Settings
from services.doctor.manifests import CHECKS, examine
from services.doctor.manifests.backends import deployments
from services.doctor.manifests.model import BACKENDS, Manifests, Object, name_of, title
from services.doctor.manifests.reading import can_render, parse, render

ROOT = FOLDER.parents[1]
BOUND = re.compile(r"^(MAX_\w+_REQUESTS) = (\d+)$", re.MULTILINE)


def by_title(manifests: Manifests) -> dict[str, Object]:
    return {title(one): one for one in manifests.objects}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    """Each overlay in turn."""
    name: str = request.param
    return name


def test_what_is_kept_is_what_kustomize_makes(overlay: str) -> None:
    if not can_render():
        pytest.skip("kubectl and kustomize are not installed here")
    made = Manifests(tuple(parse(render(FOLDER / "overlays" / overlay), overlay)))
    # Releases of kustomize put objects and fields in different orders.
    assert by_title(made) == by_title(load(overlay)), "run `make k8s` and commit deploy/k8s/rendered"


def test_no_check_finds_anything_wrong(overlay: str) -> None:
    found = list(examine(load(overlay)))
    assert [one for one in found if one.state in ("problem", "warning")] == []
    assert [one.check for one in found if one.state == "ok"] == list(CHECKS)


def test_only_dev_carries_passwords(overlay: str) -> None:
    manifests = load(overlay)
    assert bool(manifests.of("Secret")) == (overlay == "dev")
    assert bool(manifests.by_hand) == (overlay != "dev")


def test_the_version_is_that_of_the_package(overlay: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    images = {container.image for pod in load(overlay).pods for container in pod.containers}
    own = {image for image in images if image.startswith("likeness/")}
    assert own == {f"likeness/{name}:{version}" for name in ("gateway", *BACKENDS)}


def test_the_summary_tells_sizes_and_never_a_password(overlay: str) -> None:
    text = "\n".join(summary(overlay, load(overlay)))
    for words in ("generator, head", "asks for at least", "profile", f"kubectl apply -k deploy/k8s/overlays/{overlay}"):
        assert words in text
    assert "only-for-trying-out" not in text
    assert ("GPUs" in text) == (overlay != "dev")


def test_production_has_what_its_readme_promises() -> None:
    production = load("production")
    assert {name_of(one) for one in production.of("RayService")} == set(BACKENDS)
    assert production.find("HorizontalPodAutoscaler", "gateway") is not None
    assert production.of("StatefulSet") == []
    for one in production.of("RayService"):
        cluster = one["spec"]["rayClusterConfig"]
        assert one["spec"]["upgradeStrategy"]["type"] == "NewCluster"
        assert cluster["enableInTreeAutoscaling"] and cluster["gcsFaultToleranceOptions"]["redisAddress"]
        assert all("autoscaling_config" in each for each in deployments(one))
    gateway = next(pod for pod in production.pods if pod.part == "gateway")
    container = gateway.containers[0].spec
    assert {"startupProbe", "readinessProbe", "livenessProbe", "lifecycle"} <= container.keys()
    assert all("grpc" in container[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe"))
    assert len(gateway.spec["topologySpreadConstraints"]) == 2


def test_serve_is_told_the_bounds_of_the_code(overlay: str) -> None:
    told = {each["name"]: each for one in load(overlay).of("RayService") for each in deployments(one)}
    assert told.keys() == set(APPLICATIONS)
    for name, options in told.items():
        # Read as text: importing Ray takes seconds, and warns.
        code = (ROOT / "services" / name / "deployment.py").read_text(encoding="utf-8")
        bounds = {bound.lower(): int(value) for bound, value in BOUND.findall(code)}
        assert bounds == {bound: options[bound] for bound in ("max_ongoing_requests", "max_queued_requests")}


def test_old_clusters_outlive_the_calls_under_way(overlay: str) -> None:
    longest = Settings.model_fields["request_timeout_seconds"].default
    for one in load(overlay).of("RayService"):
        assert one["spec"]["rayClusterDeletionDelaySeconds"] > longest
        for group in one["spec"]["rayClusterConfig"].get("workerGroupSpecs", ()):
            assert group["template"]["spec"]["terminationGracePeriodSeconds"] > longest


def test_images_bring_what_ray_must_know() -> None:
    """The manifests leave Ray's environment to the images."""
    from services.cluster.ray_cluster import ENVIRONMENT

    text = (ROOT / "deploy" / "docker" / "generator.Dockerfile").read_text(encoding="utf-8")
    for name in ("RAY_SERVE_GRPC_MAX_MESSAGE_SIZE", "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"):
        assert int(ENVIRONMENT[name]) >= MAX_MESSAGE_BYTES
        assert f"{name}={ENVIRONMENT[name]}" in text


def examples() -> list[Path]:
    return sorted((FOLDER / "examples").glob("*.yaml"))


@pytest.mark.parametrize("file", examples(), ids=lambda file: file.stem)
def test_examples_fit_production(file: Path) -> None:
    """Each example is put beside production; what it names must be there."""
    added = list(parse(file.read_text(encoding="utf-8"), file.name))
    together = Manifests((*load("production").objects, *added))
    found = [one for one in examine(together) if one.state in ("problem", "warning")]
    assert found == []
    services = {name_of(one): one for one in together.of("Service")}
    for route in together.of("GRPCRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                assert backend["port"] in [port["port"] for port in services[backend["name"]]["spec"]["ports"]]


def test_the_external_secret_has_every_key_that_is_needed() -> None:
    text = (FOLDER / "examples" / "external-secrets.yaml").read_text(encoding="utf-8")
    production = load("production")
    namespace: Any = yaml.safe_load(yaml.safe_dump(dict(production.of("Namespace")[0])))
    del namespace["metadata"]["annotations"]
    others = [one for one in production.objects if one["kind"] != "Namespace"]
    found = list(examine(Manifests((namespace, *others, *parse(text, "external-secrets.yaml")))))
    assert [one for one in found if one.check == "references" and one.state != "ok"] == []


def test_every_render_has_its_overlay() -> None:
    assert {file.stem for file in (FOLDER / "rendered").glob("*.yaml")} == set(OVERLAYS)
    assert all(rendered(name).is_file() for name in OVERLAYS)
