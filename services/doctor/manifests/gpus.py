"""GPUs: asked for where they are used, of a type that is named and that the cluster has."""

from __future__ import annotations

from collections.abc import Iterator

from likeness.doctor.findings import Finding, problem, warning
from services.doctor.manifests.backends import deployments
from services.doctor.manifests.model import Manifests, Object, Pod, title

CHECK = "gpu"
_TYPE_WORDS = ("gpu.product", "accelerator", "instance-type", "gpu-name", "gpu-type")
"""Parts of the labels that clouds and NVIDIA's discovery name a node's GPU by."""


def gpus(manifests: Manifests) -> Iterator[Finding]:
    """Everything about GPUs."""
    for service in manifests.of("RayService"):
        yield from _asked_for(manifests, service)
    for pod in manifests.pods:
        if pod.gpus():
            yield from _placed(pod)
            if manifests.nodes:
                yield from _found(manifests, pod)


def _asked_for(manifests: Manifests, service: Object) -> Iterator[Finding]:
    pods = [pod for pod in manifests.pods if pod.owner is service]
    has = any(pod.gpus() for pod in pods)
    devices = {manifests.environment(pod.containers[0]).get("LIKENESS_DEVICE") or "auto" for pod in pods}
    if not has and any(device.startswith("cuda") for device in devices):
        advice = (
            "Give the workers nvidia.com/gpu in resources.limits (components/gpu does), or set LIKENESS_DEVICE=cpu."
        )
        yield problem(CHECK, f"{title(service)}: LIKENESS_DEVICE is cuda, and no pod of it has a GPU", advice)
    if has and devices == {"cpu"}:
        advice = "Remove LIKENESS_DEVICE, or the GPU, which costs money and does nothing."
        yield warning(CHECK, f"{title(service)}: its pods have GPUs, and LIKENESS_DEVICE is cpu", advice)
    if has and not any((one.get("ray_actor_options") or {}).get("num_gpus") for one in deployments(service)):
        message = f"{title(service)}: its pods have GPUs, and serveConfigV2 gives replicas none (num_gpus)"
        yield problem(CHECK, message, "Set ray_actor_options.num_gpus: Ray hides GPUs from other replicas.")


def _placed(pod: Pod) -> Iterator[Finding]:
    terms = _terms(pod)
    named = [one for term in terms for one in term if any(word in one["key"] for word in _TYPE_WORDS)]
    if not named:
        advice = (
            "Require nvidia.com/gpu.product (or your cloud's label) by node affinity: models may not fit into others."
        )
        yield warning(CHECK, f"{pod.where}: it names no type of GPU and takes any", advice)
    for one in named:
        if placeholders := [value for value in one.get("values") or () if value.isupper() and "SET" in value]:
            message = f"{pod.where}: the type of GPU is still {', '.join(placeholders)}"
            advice = f"`kubectl get nodes -L {one['key']}` shows the types that there are."
            yield problem(CHECK, message, advice)
    tolerated = [one.get("key") for one in pod.spec.get("tolerations") or ()]
    if not any(key is None or key.endswith("/gpu") for key in tolerated):
        advice = "Tolerate nvidia.com/gpu: nodes with GPUs are usually tainted, so that nothing else lands there."
        yield warning(CHECK, f"{pod.where}: it does not tolerate the taint of GPU nodes", advice)


def _found(manifests: Manifests, pod: Pod) -> Iterator[Finding]:
    """Compares with the nodes of the real cluster."""
    terms = _terms(pod) or [[]]
    fitting = [
        node
        for node in manifests.nodes
        if any(all(_matches(one, node["metadata"].get("labels") or {}) for one in term) for term in terms)
    ]
    if not fitting:
        keys = sorted({one["key"] for term in terms for one in term})
        labels = [node["metadata"].get("labels") or {} for node in manifests.nodes]
        there = sorted({f"{key}={one[key]}" for one in labels for key in keys if key in one})
        message = f"{pod.where}: no node has the GPU that it requires"
        advice = f"The nodes have {', '.join(there) or 'none of the labels ' + ', '.join(keys)}."
        yield problem(CHECK, message, advice)
        return
    room = sum(int((node.get("status", {}).get("allocatable") or {}).get("nvidia.com/gpu", 0)) for node in fitting)
    if room < pod.replicas * pod.gpus():
        message = f"{pod.where}: it wants {pod.replicas * pod.gpus()} GPUs, and the nodes that fit have {room}"
        yield warning(CHECK, message, "Unless the cluster adds nodes by itself, pods will wait.")


def _terms(pod: Pod) -> list[list[Object]]:
    """Node requirements in the way of nodeSelectorTerms: one term must hold, all of its expressions."""
    node = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    plain = [
        {"key": key, "operator": "In", "values": [value]} for key, value in (pod.spec.get("nodeSelector") or {}).items()
    ]
    terms = [list(one.get("matchExpressions") or ()) for one in required.get("nodeSelectorTerms") or ()]
    return [term + plain for term in terms] or ([plain] if plain else [])


def _matches(expression: Object, labels: Object) -> bool:
    value = labels.get(expression["key"])
    match expression.get("operator", "In"):
        case "In":
            return value in (expression.get("values") or ())
        case "NotIn":
            return value not in (expression.get("values") or ())
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            # Gt and Lt: of numbers, which no type of GPU is.
            return True
