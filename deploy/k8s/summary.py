"""What an overlay makes, in words for an operator: pods, GPUs, settings, and what to do before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

from services.doctor.manifests.backends import deployments
from services.doctor.manifests.model import BACKENDS, Manifests, Object, Pod, name_of

_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "m": Decimal("0.001"), "": 1}


def summary(overlay: str, manifests: Manifests) -> Iterator[str]:
    """Lines about a rendered overlay."""
    kinds = Counter(str(one["kind"]) for one in manifests.objects)
    yield f"{len(manifests.objects)} objects: " + ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items()))
    for pod in manifests.pods:
        if not pod.runs_once:
            yield f"  {_short(pod):<22} {_count(manifests, pod):<12} {_size(pod)}"
    yield f"  {'Jobs':<22} " + ", ".join(name_of(one) for one in manifests.of("Job"))
    yield f"  {'replicas':<22} " + "; ".join(_replicas(manifests, backend) for backend in BACKENDS)
    least, most = _total(manifests, most=False), _total(manifests, most=True)
    yield f"  {'asks for at least':<22} {least}"
    if most != least:
        yield f"  {'and at most':<22} {most}"
    gateway = next(pod for pod in manifests.pods if pod.part == "gateway")
    environment = manifests.environment(gateway.containers[0])
    yield f"  {'models':<22} profile {environment.get('LIKENESS_PROFILE')}"
    for name, variable in (
        ("PostgreSQL", "LIKENESS_DATABASE_URL"),
        ("Redis", "LIKENESS_REDIS_URL"),
        ("pictures", "LIKENESS_OBJECT_STORE_URL"),
    ):
        value = environment.get(variable)
        # A URL of a store may hold a password.
        shown = value.rsplit("@", 1)[-1] if value else f"in a Secret that you make ({variable})"
        yield f"  {name:<22} {shown}"
    yield f"  {'install with':<22} kubectl apply -k deploy/k8s/overlays/{overlay}"


def _short(pod: Pod) -> str:
    return pod.where.removeprefix("RayService ").removeprefix("Deployment ").removeprefix("StatefulSet ")


def _count(manifests: Manifests, pod: Pod) -> str:
    least, most = _bounds(manifests, pod)
    return f"{least} pod{'s' if least > 1 else ''}" if least == most else f"{least} to {most} pods"


def _bounds(manifests: Manifests, pod: Pod) -> tuple[int, int]:
    for one in manifests.of("HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) == (pod.owner["kind"], name_of(pod.owner)):
            return int(one["spec"]["minReplicas"]), int(one["spec"]["maxReplicas"])
    return pod.replicas, pod.most


def _size(pod: Pod) -> str:
    resources = pod.containers[0].spec["resources"]
    requests, limits = resources["requests"], resources["limits"]
    text = f"cpu {requests['cpu']} to {limits['cpu']}, memory {requests['memory']} to {limits['memory']}"
    if gpus := pod.gpus():
        text += f", {gpus} GPU ({', '.join(_types(pod))})"
    return text


def _types(pod: Pod) -> list[str]:
    node = pod.spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    expressions = [one for term in node["nodeSelectorTerms"] for one in term["matchExpressions"]]
    return [value for one in expressions if "gpu" in one["key"] for value in one["values"]]


def _replicas(manifests: Manifests, backend: str) -> str:
    for service in manifests.of("RayService"):
        for one in deployments(service):
            if one["name"] == backend:
                return f"{backend} {_scaling(one)}"
    return f"{backend} none"


def _scaling(deployment: Object) -> str:
    scaling = deployment.get("autoscaling_config")
    if not scaling:
        return str(deployment.get("num_replicas", 1))
    wanted = f"{scaling['target_ongoing_requests']} open calls each"
    return f"{scaling['min_replicas']} to {scaling['max_replicas']} ({wanted})"


def _total(manifests: Manifests, *, most: bool) -> str:
    cpu, memory, gpus = Decimal(0), Decimal(0), 0
    for pod in manifests.pods:
        if pod.runs_once:
            continue
        count = _bounds(manifests, pod)[most]
        for container in pod.containers:
            if not container.is_init:
                requests = container.spec["resources"]["requests"]
                cpu += count * _amount(requests["cpu"])
                memory += count * _amount(requests["memory"])
        gpus += count * pod.gpus()
    text = f"cpu {cpu.normalize():f}, memory {memory / 2**30:.1f} GiB"
    return text + (f", {gpus} GPUs" if gpus else "")


def _amount(text: str) -> Decimal:
    unit = next(unit for unit in _UNITS if str(text).endswith(unit))
    return Decimal(str(text).removesuffix(unit)) * _UNITS[unit]
