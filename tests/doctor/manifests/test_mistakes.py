"""Mistakes that operators make in manifests: each is found, by the check of its name, in words that help."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from deploy.k8s.render import rendered
from likeness.doctor.findings import Finding
from services.doctor.manifests import CHECKS, examine
from services.doctor.manifests.model import Manifests, name_of
from services.doctor.manifests.reading import parse


def found_in(manifests: Manifests, check: str) -> list[Finding]:
    return list(CHECKS[check][0](manifests))


def has(found: list[Finding], state: str, words: str) -> bool:
    """Whether a finding of that state has the words, and advice."""
    return any(one.state == state and words in one.message and one.advice for one in found)


WRITTEN = [
    ("dev", "LIKENESS_GATEWAY_PORT", "LIKENESS_GATEWAY_PROT", "settings", "problem", "no setting has this name"),
    ("dev", 'LIKENESS_HTTP_PORT: "7401"', 'LIKENESS_HTTP_PORT: "seven"', "settings", "problem", "LIKENESS_HTTP_PORT"),
    ("dev", 'LIKENESS_HTTP_PORT: "7401"', 'LIKENESS_HTTP_PORT: "7411"', "ports", "problem", "listens on 7411"),
    ("dev", "GATEWAY_HOST: 0.0.0.0", "GATEWAY_HOST: 127.0.0.1", "settings", "problem", "nobody outside its pod"),
    ("dev", 'ALLOW_PLAINTEXT: "true"', 'ALLOW_PLAINTEXT: "false"', "settings", "problem", "no certificate"),
    ("dev", 'REQUIRE_KEYS: "true"', 'REQUIRE_KEYS: "false"', "settings", "warning", "may do anything"),
    ("dev", "likeness/gateway:0.1.0", "likeness/gateway:latest", "images", "problem", "moving tag"),
    ("dev", "redis:7.4.5", "redis", "images", "problem", "has no tag"),
    ("dev", "generator-serve-svc:9000", "generater-serve-svc:9000", "backends", "problem", "no generator is served"),
    ("dev", "scorer-serve-svc:9000", "generator-serve-svc:9000", "backends", "problem", "no scorer is served"),
    ("dev", "scorer-serve-svc:9000", "scorer-serve-svc:9001", "backends", "problem", "no scorer is served"),
    ("dev", "scorer-serve-svc:9000", "http://scorer:9000", "backends", "problem", "http://"),
    ("dev", "scorer-serve-svc:9000", "scorer:9000", "backends", "problem", "there is no Service scorer"),
    ("dev", "scorer-serve-svc:9000", "localhost:9000", "backends", "problem", "a pod finds only itself"),
    ("dev", "services.scorer.deployment:app", "scorer.app", "backends", "problem", "is imported from scorer.app"),
    ("dev", "- name: refiner\n        route", "- name: refine\n        route", "backends", "problem", "'refine'"),
    ("dev", "add_scorer", "add_score", "backends", "problem", "which is not there"),
    ("dev", r"grpc_options:\n      port: 9000", "grpc_options:\n      port: 9001", "backends", "problem", "on 9001"),
    ("dev", "host: 0.0.0.0, port", "host: 127.0.0.1, port", "backends", "problem", "listens on loopback"),
    ("dev", "max_queued_requests: 64", "max_queued_requests: -1", "backends", "problem", "without a bound"),
    ("dev", "num_cpus: 1}", "num_cpus: 16}", "backends", "problem", "want 16 CPUS"),
    ("dev", "serveConfigV2: [|]", "serveConfigV2: |\n    [", "backends", "problem", "no YAML with applications"),
    ("dev", "rayVersion: 2.60.0", "rayVersion: 2.9.0", "backends", "warning", "rayVersion is 2.9.0"),
    ("dev", "mode: token", "mode: disabled", "backends", "warning", "authOptions"),
    ("dev", "DEVICE: cpu", "DEVICE: cuda", "gpu", "problem", "no pod of it has a GPU"),
    ("dev", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "security", "warning", "written to"),
    ("dev", "runAsNonRoot: true", "runAsNonRoot: false", "security", "problem", "may run as root"),
    ("dev", "type: RuntimeDefault", "type: Unconfined", "security", "problem", "no seccompProfile"),
    ("dev", "- ALL", "- CHOWN", "security", "problem", "it keeps capabilities"),
    ("dev", "appProtocol: kubernetes.io/h2c", "name: api", "ports", "warning", "HTTP/2 in the clear"),
    ("dev", "targetPort: redis", "targetPort: rediss", "ports", "problem", "which no pod declares"),
    ("dev", "v1.ImageService", "v1.PictureService", "ports", "problem", "does not know"),
    ("dev", "GracePeriodSeconds: 45", "GracePeriodSeconds: 30", "probes", "problem", "it is killed 30 s after"),
    ("dev", "claimName: objects", "claimName: pictures", "references", "problem", "PersistentVolumeClaim pictures"),
    ("dev", "serviceAccountName: gateway", "serviceAccountName: gatekeeper", "references", "problem", "gatekeeper"),
    ("dev", "key: POSTGRES_PASSWORD", "key: PASSWORD", "references", "problem", "has no key PASSWORD"),
    ("dev", "mountPath: /var/lib/likeness\n", "mountPath: /srv\n", "stores", "problem", "lost when the pod ends"),
    ("dev", "LIKENESS_OBJECT_STORE_URL: .*", "OTHER: value", "stores", "problem", "OBJECT_STORE_URL is not set"),
    ("gpu", "likeness/secrets-made-by-hand", "likeness/secrets", "references", "problem", "there is no Secret"),
    ("gpu", "PROFILE: sd15", "PROFILE: sd51", "settings", "problem", "there is no profile 'sd51'"),
    ("gpu", "  LIKENESS_LLM_BASE_URL: .*\n", "", "settings", "problem", "no language model is set"),
    ("gpu", "https://llm.example.com", "http://vllm", "settings", "problem", "there is no Service vllm"),
    ("gpu", " +nvidia.com/gpu: .*\n", "", "gpu", "problem", "LIKENESS_DEVICE is cuda"),
    ("gpu", "num_gpus: 1", "num_gpus: 0", "gpu", "problem", "gives replicas none"),
    ("gpu", "num_replicas: 1", "num_replicas: 3", "backends", "problem", "want 3 GPUS"),
    ("gpu", "- NVIDIA-L40S", "- SET-BY-THE-OVERLAY", "gpu", "problem", "the type of GPU is still"),
    ("gpu", "key: nvidia.com/gpu.product", "key: disk", "gpu", "warning", "takes any"),
    (
        "gpu",
        "- effect: NoSchedule\n +key: nvidia.com/gpu",
        "- effect: NoSchedule\n            key: x",
        "gpu",
        "warning",
        "taint",
    ),
    ("production", "s3://", "gs://", "settings", "problem", "LIKENESS_OBJECT_STORE_URL does not begin with"),
    ("production", "maxReplicas: 8", "maxReplicas: 1", "backends", "problem", "want 2 GPUS"),
    ("production", r"maxUnavailable: 1\n  selector", r"minAvailable: 3\n  selector", "resources", "problem", "keeps 3"),
    (
        "production",
        r"Deployment\n    name: gateway",
        r"Deployment\n    name: gate",
        "selectors",
        "problem",
        "scales gate,",
    ),
    ("production", "port: 9001", "port: 9000", "network", "problem", "reach Ray Serve's proxy"),
    ("production", "redis.example.com", "redis", "stores", "problem", "there is no Service redis"),
    ("production", "    limits:\n", "    bounds:\n", "resources", "warning", "has no limits.cpu, limits.memory"),
    ("production", "readinessProbe:", "readyProbe:", "probes", "warning", "it has no readinessProbe"),
]


@pytest.mark.parametrize(
    ("overlay", "old", "new", "check", "state", "words"), WRITTEN, ids=lambda value: str(value)[:40]
)
def test_a_mistake_in_the_text_is_found(overlay: str, old: str, new: str, check: str, state: str, words: str) -> None:
    text = rendered(overlay).read_text(encoding="utf-8")
    changed = re.sub(old, new, text)
    assert changed != text, f"{old} is not in the render any more"
    assert not has(found_in(Manifests(tuple(parse(text, overlay))), check), state, words)
    found = found_in(Manifests(tuple(parse(changed, overlay))), check)
    assert has(found, state, words), found


Change = Callable[[dict[str, Any]], None]


def changed(overlay: str, kind: str, name: str, change: Change) -> Manifests:
    objects: list[Any] = copy.deepcopy(list(parse(rendered(overlay).read_text(encoding="utf-8"), overlay)))
    change(next(one for one in objects if one["kind"] == kind and name_of(one).startswith(name)))
    return Manifests(tuple(objects))


def test_everybody_on_the_proxy_is_found() -> None:
    def open_up(policy: dict[str, Any]) -> None:
        policy["spec"]["ingress"].append({"ports": [{"port": 9000}]})

    found = found_in(changed("production", "NetworkPolicy", "scorer", open_up), "network")
    assert has(found, "problem", "pods of other namespaces reach Ray Serve's proxy")


def test_a_gateway_that_no_policy_lets_in_is_found() -> None:
    def close(policy: dict[str, Any]) -> None:
        policy["spec"]["ingress"][1]["from"][0]["podSelector"]["matchLabels"] = {"app": "gateway"}

    found = found_in(changed("production", "NetworkPolicy", "scorer", close), "network")
    assert has(found, "problem", "no NetworkPolicy lets the gateway in on port 9000")


def test_metrics_for_everybody_are_found() -> None:
    def open_up(policy: dict[str, Any]) -> None:
        del policy["spec"]["ingress"][1]["from"]

    assert has(
        found_in(changed("dev", "NetworkPolicy", "gateway", open_up), "network"), "warning", "reaches its metrics"
    )


def test_settings_that_head_and_workers_do_not_share_are_found() -> None:
    def tell_workers(service: dict[str, Any]) -> None:
        worker = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
        worker["env"] = [{"name": "LIKENESS_DEVICE", "value": "cuda:1"}]

    found = found_in(changed("gpu", "RayService", "generator", tell_workers), "backends")
    assert has(found, "problem", "LIKENESS_DEVICE differ between head and workers")


def test_ports_that_ray_serve_does_not_have_are_found() -> None:
    def rename(service: dict[str, Any]) -> None:
        head = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        head["ports"] = [one for one in head["ports"] if one["name"] != "serve-grpc"]

    assert has(found_in(changed("dev", "RayService", "scorer", rename), "backends"), "problem", "not declared")


def test_pictures_in_a_folder_of_several_gateways_are_found() -> None:
    def grow(deployment: dict[str, Any]) -> None:
        deployment["spec"]["replicas"] = 3

    assert has(found_in(changed("dev", "Deployment", "gateway", grow), "stores"), "warning", "3 gateways keep pictures")


def test_a_password_in_a_configmap_is_found_and_not_told() -> None:
    def write_down(settings: dict[str, Any]) -> None:
        settings["data"]["LIKENESS_REDIS_URL"] = "redis://:hush-hush@redis:6379"

    found = found_in(changed("dev", "ConfigMap", "gateway-settings", write_down), "settings")
    assert has(found, "problem", "LIKENESS_REDIS_URL holds a password in the clear")
    assert not any("hush-hush" in one.line() for one in found)


def test_a_volume_that_the_pod_does_not_have_is_found() -> None:
    def unmount(deployment: dict[str, Any]) -> None:
        deployment["spec"]["template"]["spec"]["volumes"].pop()

    assert has(found_in(changed("dev", "Deployment", "gateway", unmount), "references"), "problem", "no such volume")


def test_labels_that_no_selector_meets_are_found() -> None:
    def relabel(deployment: dict[str, Any]) -> None:
        deployment["spec"]["template"]["metadata"]["labels"] = {"app": "gateway"}

    found = found_in(changed("production", "Deployment", "gateway", relabel), "selectors")
    assert has(found, "problem", "Service gateway selects no pod")
    assert has(found, "problem", "does not match the labels of its own pods")
    assert has(found, "problem", "PodDisruptionBudget gateway selects no pod")


def test_fields_that_the_api_server_does_not_know_are_found() -> None:
    pytest.importorskip("kubernetes_validate")

    def misspell(deployment: dict[str, Any]) -> None:
        deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}

    found = found_in(changed("dev", "Deployment", "gateway", misspell), "schema")
    assert has(found, "problem", "livenesProbe")


def test_fields_that_kuberay_does_not_know_are_found() -> None:
    def misspell(service: dict[str, Any]) -> None:
        service["spec"]["rayClusterConfig"]["enableAutoscaling"] = True
        service["spec"]["upgradeStrategy"] = {"type": 3}

    found = found_in(changed("dev", "RayService", "generator", misspell), "schema")
    assert has(found, "problem", "enableAutoscaling")
    assert has(found, "problem", "spec.upgradeStrategy.type: 3 is not of type")


def test_an_object_that_is_there_twice_is_found() -> None:
    objects = tuple(parse(rendered("dev").read_text(encoding="utf-8"), "dev"))
    assert has(found_in(Manifests((*objects, objects[0])), "manifests"), "problem", "is there twice")


def test_what_one_configmap_does_in_many_pods_is_told_once() -> None:
    def misspell(settings: dict[str, Any]) -> None:
        settings["data"]["LIKENESS_PROFIL"] = "sd15"

    found = [one for one in examine(changed("production", "ConfigMap", "settings", misspell)) if one.state == "problem"]
    assert len(found) == 1
    assert "more: LIKENESS_PROFIL is set" in found[0].message
    assert found[0].advice == "Did you mean LIKENESS_PROFILE?"


def test_objects_without_their_fields_are_told_and_break_nothing() -> None:
    objects = tuple(parse("apiVersion: v1\nkind: Service\nmetadata: {name: empty}\n", "text"))
    found = found_in(Manifests(objects), "schema")
    assert found == [] or has(found, "problem", "Service empty")
    assert any(one.state == "problem" for one in examine(Manifests(objects)))
