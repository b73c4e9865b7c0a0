"""The objects for a cluster: valid under their definitions, and pointing at what deploy/k8s makes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from deploy.monitoring.__main__ import FOLDER, prometheus_rule
from deploy.monitoring.boards import DASHBOARDS
from services.doctor.manifests.reading import can_render, render
from services.doctor.manifests.shapes import DEFINITIONS, against, definitions

RENDERED = sorted((FOLDER.parent / "k8s" / "rendered").glob("*.yaml"))
MONITORS = list(yaml.safe_load_all((FOLDER / "podmonitors.yaml").read_text(encoding="utf-8")))
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BACKENDS = {"generator", "scorer", "refiner"}


@pytest.mark.parametrize("one", [*MONITORS, prometheus_rule()], ids=lambda one: one["metadata"]["name"])
def test_an_object_is_valid_under_its_definition(one: dict[str, Any]) -> None:
    schema = definitions(DEFINITIONS)[f"{one['apiVersion']} {one['kind']}"]
    assert list(against(one, schema)) == []


@pytest.mark.parametrize("file", RENDERED, ids=lambda file: file.stem)
def test_every_monitor_finds_its_pods_and_their_port(file: Any) -> None:
    templates = list(_templates(list(yaml.load_all(file.read_text(encoding="utf-8"), Loader=_LOADER))))
    for monitor in MONITORS:
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        chosen = [(labels, ports) for labels, ports in templates if wanted.items() <= labels.items()]
        assert chosen, monitor["metadata"]["name"]
        assert all(endpoint["port"] in ports for _, ports in chosen)
        components = {labels["app.kubernetes.io/component"] for labels, _ in chosen}
        assert components == ({"gateway"} if monitor["metadata"]["name"] == "likeness-gateway" else BACKENDS)


def _templates(objects: list[dict[str, Any]]) -> Any:
    for one in objects:
        if one["kind"] == "Deployment":
            yield _pod(one["spec"]["template"])
        if one["kind"] == "RayService":
            config = one["spec"]["rayClusterConfig"]
            for group in [config["headGroupSpec"], *config.get("workerGroupSpecs", [])]:
                yield _pod(group["template"])


def _pod(template: dict[str, Any]) -> tuple[dict[str, str], set[str]]:
    ports = {port["name"] for one in template["spec"]["containers"] for port in one.get("ports", [])}
    return template["metadata"]["labels"], ports


def test_the_kustomization_has_every_file() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
    (generator,) = kustomization["configMapGenerator"]
    dashboards = {f"dashboards/{path.name}" for path in (FOLDER / "dashboards").iterdir()}
    assert set(generator["files"]) == dashboards == {f"dashboards/{one.uid}.json" for one in DASHBOARDS}
    assert all((FOLDER / one).is_file() for one in kustomization["resources"])
    # A ConfigMap holds 1 MiB.
    assert sum((FOLDER / one).stat().st_size for one in dashboards) < 1_000_000


@pytest.mark.skipif(not can_render(), reason="neither kubectl nor kustomize is installed")
def test_the_kustomization_renders_into_the_namespace_of_the_pods() -> None:
    objects = list(yaml.load_all(render(FOLDER), Loader=_LOADER))
    assert {one["metadata"]["namespace"] for one in objects} == {"likeness"}
    kinds = sorted(one["kind"] for one in objects)
    assert kinds == ["ConfigMap", "PodMonitor", "PodMonitor", "PodMonitor", "PrometheusRule"]
    (dashboards,) = (one for one in objects if one["kind"] == "ConfigMap")
    assert all(json.loads(text)["panels"] for text in dashboards["data"].values())


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)
def test_a_dashboard_has_panels_that_do_not_overlap(dashboard: Any) -> None:
    page = json.loads((FOLDER / "dashboards" / f"{dashboard.uid}.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in page["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or all(one["expr"] for one in panel["targets"])
    identifiers = [panel["id"] for panel in page["panels"]]
    assert len(set(identifiers)) == len(identifiers)
