"""Names of other objects: ConfigMaps, Secrets and their keys, accounts, volumes, and what selectors select."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from likeness.doctor.findings import Finding, State, note, problem, warning
from services.doctor.manifests.model import Container, Manifests, Object, Pod, name_of, selects, title

_STORE_KEYS = ("LIKENESS_DATABASE_URL", "LIKENESS_REDIS_URL")
_KEEP_IN_MIND = "Apply it together with the rest, or mend the name."


def references(manifests: Manifests) -> Iterator[Finding]:
    """Names that nothing has; of Secrets that are made by hand, which keys they need."""
    needed: dict[str, set[str]] = {name: set() for name in sorted(manifests.by_hand)}
    for pod in manifests.pods:
        yield from _of_pod(manifests, pod)
        for container in pod.containers:
            yield from _of_container(manifests, container, needed)
    for one in manifests.of("RayService"):
        redis = one["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions") or {}
        if reference := ((redis.get("redisPassword") or {}).get("valueFrom") or {}).get("secretKeyRef"):
            yield from _secret(manifests, title(one), reference, needed)
    for name, keys in needed.items():
        literals = " ".join(f"--from-literal={key}=..." for key in sorted(keys))
        advice = f"kubectl -n likeness create secret generic {name} {literals}".rstrip()
        yield note("references", f"Secret {name} is not here: it must be made before the rest", advice)


def _of_pod(manifests: Manifests, pod: Pod) -> Iterator[Finding]:
    account = pod.spec.get("serviceAccountName")
    if account and manifests.find("ServiceAccount", account) is None:
        yield _absent(pod.where, "ServiceAccount", account)
    claims = {name_of(one) for one in (pod.owner.get("spec") or {}).get("volumeClaimTemplates") or ()}
    volumes = {one["name"] for one in pod.spec.get("volumes") or ()} | claims
    for volume in pod.spec.get("volumes") or ():
        for kind, source, key in (
            ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
            ("ConfigMap", "configMap", "name"),
            ("Secret", "secret", "secretName"),
        ):
            name = (volume.get(source) or {}).get(key)
            if name and manifests.find(kind, name) is None and not (kind == "Secret" and name in manifests.by_hand):
                yield _absent(f"{pod.where}, volume {volume['name']}", kind, name)
    for container in pod.containers:
        for mount in container.spec.get("volumeMounts") or ():
            if mount["name"] not in volumes:
                message = f"{container.where}: it mounts {mount['name']}, and the pod has no such volume"
                yield problem("references", message, "Declare the volume, or mend the name.")


def _of_container(manifests: Manifests, container: Container, needed: dict[str, set[str]]) -> Iterator[Finding]:
    environment = manifests.environment(container)
    for one in container.spec.get("envFrom") or ():
        if reference := one.get("configMapRef"):
            if manifests.find("ConfigMap", reference["name"]) is None and not reference.get("optional"):
                yield _absent(container.where, "ConfigMap", reference["name"])
        elif reference := one.get("secretRef"):
            name = reference["name"]
            if name in needed:
                needed[name] |= {key for key in _STORE_KEYS if key not in environment}
            elif manifests.values_of_secret(name) is None and not reference.get("optional"):
                yield _no_secret(container.where, name)
    for one in container.spec.get("env") or ():
        source = one.get("valueFrom") or {}
        if reference := source.get("secretKeyRef"):
            yield from _secret(manifests, container.where, reference, needed)
        if (reference := source.get("configMapKeyRef")) and not reference.get("optional"):
            data = (manifests.find("ConfigMap", reference["name"]) or {}).get("data") or {}
            if reference["key"] not in data:
                yield _absent(container.where, "ConfigMap", f"{reference['name']} with the key {reference['key']}")


def _secret(manifests: Manifests, where: str, reference: Object, needed: dict[str, set[str]]) -> Iterator[Finding]:
    name, key = reference["name"], reference["key"]
    if name in needed:
        needed[name].add(key)
        return
    values = manifests.values_of_secret(name)
    if values is None and not reference.get("optional"):
        yield _no_secret(where, name)
    elif values is not None and key not in values:
        yield problem("references", f"{where}: Secret {name} has no key {key}", "Add it, or mend the name.")


def _no_secret(where: str, name: str) -> Finding:
    advice = (
        "Add it, or an ExternalSecret that makes it. If you make it by hand, name it in the annotation "
        "likeness/secrets-made-by-hand of the Namespace."
    )
    return problem("references", f"{where}: there is no Secret {name}; the pod would not start", advice)


def _absent(where: str, kind: str, name: str) -> Finding:
    return problem("references", f"{where}: there is no {kind} {name}", _KEEP_IN_MIND)


def selectors(manifests: Manifests) -> Iterator[Finding]:
    """Selectors that select nothing, and scalers of nothing."""
    for one in manifests.of("Deployment", "StatefulSet"):
        labels = one["spec"]["template"]["metadata"].get("labels") or {}
        if not selects(one["spec"]["selector"], labels):
            message = f"{title(one)}: its selector does not match the labels of its own pods"
            yield problem("selectors", message, "The API server refuses it: make them agree.")
        for constraint in one["spec"]["template"]["spec"].get("topologySpreadConstraints") or ():
            if not selects(constraint.get("labelSelector"), labels):
                message = f"{title(one)}: a topologySpreadConstraint selects other pods than its own"
                yield warning("selectors", message, "Nothing is spread: mend its labelSelector.")
    for one in manifests.of("Service"):
        selector = one["spec"].get("selector")
        if selector:
            yield from _selecting(manifests, title(one), {"matchLabels": selector})
    for one in manifests.of("PodDisruptionBudget", "PodMonitor"):
        yield from _selecting(manifests, title(one), one["spec"].get("selector") or {})
    for one in manifests.of("NetworkPolicy"):
        yield from _selecting(manifests, title(one), one["spec"].get("podSelector") or {}, State.WARNING)
        for rule in [*(one["spec"].get("ingress") or ()), *(one["spec"].get("egress") or ())]:
            for peer in [*(rule.get("from") or ()), *(rule.get("to") or ())]:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    yield from _selecting(manifests, f"{title(one)}, a peer", peer["podSelector"], State.WARNING)
    for one in manifests.of("HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        if manifests.find(target["kind"], target["name"]) is None:
            message = f"{title(one)} scales {target['name']}, which is not here"
            yield problem("selectors", message, "Mend scaleTargetRef.")


def _selecting(manifests: Manifests, where: str, selector: Object, state: State = State.PROBLEM) -> Iterator[Finding]:
    if not any(selects(selector, pod.labels) for pod in manifests.pods):
        wanted: Mapping[str, str] = selector.get("matchLabels") or {}
        labels = ", ".join(f"{key}={value}" for key, value in wanted.items()) or "its labels"
        advice = "Compare it with the labels of the pods' templates."
        yield Finding("selectors", state, f"{where} selects no pod: none has {labels}", advice)
