"""What every pod must have: a fixed image, the restricted Pod Security Standard, limits, probes, time to end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from likeness.doctor.findings import Finding, problem, warning
from services.cluster.gateway_process import STOP_SECONDS
from services.doctor.manifests.model import Container, Manifests, Object, Pod, name_of, title

_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
    *("persistentVolumeClaim", "projected", "secret"),
}
"""Kinds of volumes that the restricted standard allows."""
_RESTRICTED = "The namespace enforces the restricted Pod Security Standard: the API server refuses such pods."


def images(manifests: Manifests) -> Iterator[Finding]:
    """Images that may be another one tomorrow."""
    for pod in manifests.pods:
        for container in pod.containers:
            yield from _image(container)


def _image(container: Container) -> Iterator[Finding]:
    image = container.image
    if "@sha256:" in image:
        return
    _, _, tag = image.rsplit("/", 1)[-1].partition(":")
    if not image or not tag or tag == "latest":
        message = f"{container.where}: {image or 'no image'} " + ("is a moving tag" if tag else "has no tag")
        advice = "Name a version, such as likeness/gateway:0.1.0, or a digest: else pods of one rollout may differ."
        yield problem("images", message, advice)


def security(manifests: Manifests) -> Iterator[Finding]:
    """What the restricted Pod Security Standard forbids, and file systems that can be written to."""
    for pod in manifests.pods:
        for what in _privileges_of_pod(pod.spec):
            yield problem("security", f"{pod.where}: {what}", _RESTRICTED)
        for container in pod.containers:
            yield from _security_of(container.where, container.spec.get("securityContext") or {}, pod.spec)
    for one in manifests.of("RayService"):
        cluster = one["spec"]["rayClusterConfig"]
        if cluster.get("enableInTreeAutoscaling"):
            context = (cluster.get("autoscalerOptions") or {}).get("securityContext") or {}
            head = cluster["headGroupSpec"]["template"]["spec"]
            yield from _security_of(f"{title(one)}, autoscaler of the head", context, head)


def _security_of(where: str, context: Object, pod: Object) -> Iterator[Finding]:
    for what in _privileges(context, pod.get("securityContext") or {}):
        yield problem("security", f"{where}: {what}", _RESTRICTED)
    if not context.get("readOnlyRootFilesystem"):
        advice = "Set readOnlyRootFilesystem: true and mount an emptyDir where the process writes."
        yield warning("security", f"{where}: its file system can be written to", advice)


def _privileges_of_pod(spec: Object) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"{name} is on"
    for volume in spec.get("volumes") or ():
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is of kind {kind}, which is not allowed"


def _privileges(context: Object, pod: Object) -> Iterator[str]:
    def effective(name: str) -> Any:
        return context.get(name, pod.get(name))

    capabilities = context.get("capabilities") or {}
    if context.get("privileged"):
        yield "it is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "it keeps capabilities: capabilities.drop must have ALL"
    if added := set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"it adds the capabilities {', '.join(sorted(added))}"
    if effective("runAsNonRoot") is not True or effective("runAsUser") == 0:
        yield "it may run as root: runAsNonRoot is not true, or runAsUser is 0"
    if (effective("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "it has no seccompProfile"


def resources(manifests: Manifests) -> Iterator[Finding]:
    """Containers that ask for nothing or may take everything."""
    for pod in manifests.pods:
        for container in pod.containers:
            given = container.spec.get("resources") or {}
            requests, limits = given.get("requests") or {}, given.get("limits") or {}
            missing = [f"requests.{name}" for name in ("cpu", "memory") if name not in requests]
            missing += [f"limits.{name}" for name in ("cpu", "memory") if name not in limits]
            if missing:
                advice = "deploy/k8s/README.md has what was measured; without them one pod can take a node down."
                message = f"{container.where}: resources has no {', '.join(missing)}"
                yield warning("resources", message, advice)
    yield from _disruption(manifests)


def _disruption(manifests: Manifests) -> Iterator[Finding]:
    fewest = {name_of(one): one["spec"].get("replicas", 1) for one in manifests.of("Deployment")}
    for one in manifests.of("HorizontalPodAutoscaler"):
        fewest[one["spec"]["scaleTargetRef"]["name"]] = one["spec"].get("minReplicas", 1)
    for budget in manifests.of("PodDisruptionBudget"):
        least, replicas = budget["spec"].get("minAvailable"), fewest.get(name_of(budget))
        if isinstance(least, int) and replicas is not None and least >= replicas:
            message = f"{title(budget)} keeps {least} pods, of which there may be only {replicas}"
            advice = "Use maxUnavailable: 1; as it is, no node with such a pod can be drained."
            yield problem("resources", message, advice)


def probes(manifests: Manifests) -> Iterator[Finding]:
    """Pods of which nobody knows whether they serve, and gateways that get too little time to end."""
    for pod in manifests.pods:
        if pod.runs_once:
            continue
        for container in pod.containers:
            missing = [name for name in ("readinessProbe", "livenessProbe") if name not in container.spec]
            if missing and not container.is_init:
                message = f"{container.where}: it has no {' and no '.join(missing)}"
                yield warning("probes", message, "Calls go to pods that cannot answer, or hang for ever.")
        if pod.part == "gateway":
            yield from _time_to_end(pod)


def _time_to_end(pod: Pod) -> Iterator[Finding]:
    given = float(pod.spec.get("terminationGracePeriodSeconds", 30))
    hook = (pod.containers[0].spec.get("lifecycle") or {}).get("preStop") or {}
    waits = float((hook.get("sleep") or {}).get("seconds", 0))
    if given < waits + STOP_SECONDS:
        message = (
            f"{pod.where}: it is killed {given:.0f} s after it is asked to end, and needs {waits + STOP_SECONDS:.0f}"
        )
        advice = "Raise terminationGracePeriodSeconds: calls under way are cut off otherwise."
        yield problem("probes", message, advice)
    if not hook:
        message = f"{pod.where}: it has no preStop, and refuses calls before load balancers know that it goes"
        yield warning("probes", message, "Add lifecycle.preStop.sleep of some seconds.")
