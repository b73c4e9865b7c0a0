"""Ports: of services, probes and settings against what containers declare, and who may reach which."""

from __future__ import annotations

from collections.abc import Iterator

from likeness.doctor.findings import Finding, problem, warning
from services.doctor.manifests.environment import settings_of
from services.doctor.manifests.model import Container, Manifests, Object, Pod, selects, title
from services.gateway.health import SERVICE_NEEDS

ANYBODY = "anybody"
RAY_PORTS = (52365,)
"""Of Ray's agent in every pod; Ray opens it whether it is declared or not."""
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_SERVE, _METRICS = "serve-grpc", ("http", "metrics", "app-metrics")


def ports(manifests: Manifests) -> Iterator[Finding]:
    """Ports that nothing listens on."""
    for service in manifests.of("Service"):
        selector = service["spec"].get("selector")
        pods = [pod for pod in manifests.pods if selector and selects({"matchLabels": selector}, pod.labels)]
        for port in service["spec"].get("ports") or ():
            yield from _of_service(service, port, pods)
    for pod in manifests.pods:
        for container in pod.containers:
            yield from _of_probes(container)
        if pod.part == "gateway":
            yield from _of_gateway(manifests, pod)
    for one in manifests.of("PodMonitor"):
        pods = [pod for pod in manifests.pods if selects(one["spec"].get("selector") or {}, pod.labels)]
        for endpoint in one["spec"].get("podMetricsEndpoints") or ():
            name = endpoint.get("port")
            # KubeRay adds "metrics" by itself.
            if pods and name and not any(name in pod.ports for pod in pods):
                yield _no_port(f"{title(one)}: no pod that it selects has a port {name}")
    for one in manifests.of("Ingress"):
        for rule in one["spec"].get("rules") or ():
            for path in (rule.get("http") or {}).get("paths") or ():
                yield from _of_ingress(manifests, one, path["backend"]["service"])


def _of_service(service: Object, port: Object, pods: list[Pod]) -> Iterator[Finding]:
    target = port.get("targetPort", port["port"])
    there = {key for pod in pods for name, number in pod.ports.items() for key in (name, number)}
    if pods and target not in there:
        yield _no_port(f"{title(service)} sends port {port['port']} to {target}, which no pod declares")
    if pods and pods[0].part == "gateway" and not port.get("appProtocol") and target in ("grpc", 7400):
        message = f"{title(service)} does not say that port {port['port']} speaks HTTP/2 in the clear"
        advice = "Set appProtocol: kubernetes.io/h2c; many load balancers speak HTTP/1.1 otherwise, which no gRPC is."
        yield warning("ports", message, advice)


def _of_probes(container: Container) -> Iterator[Finding]:
    known = {key for name, number in container.ports.items() for key in (name, number)} | set(RAY_PORTS)
    for name in _PROBES:
        probe = container.spec.get(name) or {}
        for kind in ("grpc", "httpGet", "tcpSocket"):
            port = (probe.get(kind) or {}).get("port")
            if port is not None and port not in known:
                yield _no_port(f"{container.where}: its {name} asks port {port}, which it does not declare")
        service = (probe.get("grpc") or {}).get("service", "")
        if service and service not in SERVICE_NEEDS:
            message = f"{container.where}: its {name} asks for {service}, which the gateway does not know"
            yield problem("ports", message, "docs/operations.md lists the services that can be asked for.")


def _of_gateway(manifests: Manifests, pod: Pod) -> Iterator[Finding]:
    container = pod.containers[0]
    settings = settings_of(manifests.environment(container))
    if settings is None:
        return
    for name, port in (("LIKENESS_GATEWAY_PORT", settings.gateway_port), ("LIKENESS_HTTP_PORT", settings.http_port)):
        if port not in container.ports.values():
            declared = ", ".join(str(one) for one in container.ports.values()) or "none"
            message = f"{container.where}: it listens on {port} ({name}) and declares {declared}"
            yield problem("ports", message, f"Set containerPort and {name} to the same number.")


def _of_ingress(manifests: Manifests, one: Object, backend: Object) -> Iterator[Finding]:
    service = manifests.find("Service", backend["name"])
    if service is None:
        yield problem("ports", f"{title(one)} sends calls to Service {backend['name']}, not here", "")
        return
    names = {key for port in service["spec"]["ports"] for key in (port.get("name"), port["port"])}
    if backend["port"].get("name", backend["port"].get("number")) not in names:
        yield _no_port(f"{title(one)} names a port that Service {backend['name']} does not have")


def _no_port(message: str) -> Finding:
    return problem("ports", message, "Make the two agree; names and numbers of ports are compared as written.")


def network(manifests: Manifests) -> Iterator[Finding]:
    """Who reaches Ray Serve's proxy, which knows no keys, and the metrics."""
    policies = manifests.of("NetworkPolicy")
    if not any(not one["spec"].get("podSelector") for one in policies):
        advice = "Add a NetworkPolicy with an empty podSelector and both policyTypes; then allow what is needed."
        yield warning("network", "pods that no policy selects may be reached by everybody", advice)
    for pod in manifests.pods:
        if _SERVE in pod.ports:
            yield from _proxy(manifests, pod)
        for name in _METRICS:
            if name in pod.ports and ANYBODY in _peers(manifests, pod, name):
                message = f"{pod.where}: everybody reaches its metrics (port {pod.ports[name]})"
                advice = "Let only Prometheus in; base/network-policies.yaml does."
                yield warning("network", message, advice)


def _proxy(manifests: Manifests, pod: Pod) -> Iterator[Finding]:
    allowed = _peers(manifests, pod, _SERVE)
    callers = [one for one in manifests.pods if one.part == "gateway"]
    strangers = [
        one.where
        for one in manifests.pods
        if one.part != "gateway" and any(not isinstance(peer, str) and _is(peer, one) for peer in allowed)
    ]
    if any(isinstance(peer, str) or "namespaceSelector" in peer or "ipBlock" in peer for peer in allowed):
        strangers.append("pods of other namespaces")
    if strangers:
        message = f"{pod.where}: {', '.join(sorted(set(strangers)))} reach Ray Serve's proxy, which asks for no key"
        yield problem("network", message, "Let only the gateway in on port 9000.")
    if callers and not any(_is(peer, caller) for peer in allowed for caller in callers):
        message = f"{pod.where}: no NetworkPolicy lets the gateway in on port {pod.ports[_SERVE]}"
        yield problem("network", message, "Add a rule whose podSelector matches the gateway's labels.")


def _peers(manifests: Manifests, pod: Pod, port: str) -> list[Object | str]:
    """Peers that policies let in to a port; ANYBODY where a rule names none, or no policy restricts the pod."""
    policies = [
        one
        for one in manifests.of("NetworkPolicy")
        if selects(one["spec"].get("podSelector") or {}, pod.labels)
        and "Ingress" in (one["spec"].get("policyTypes") or ("Ingress",))
    ]
    if not policies:
        return [ANYBODY]
    found: list[Object | str] = []
    for rule in [rule for one in policies for rule in one["spec"].get("ingress") or ()]:
        if not rule.get("ports") or any(_covers(one, port, pod.ports[port]) for one in rule["ports"]):
            found += rule.get("from") or [ANYBODY]
    return found


def _covers(allowed: Object, name: str, number: int) -> bool:
    first = allowed.get("port")
    if isinstance(first, str):
        return first == name
    return first is None or first <= number <= allowed.get("endPort", first)


def _is(peer: Object | str, pod: Pod) -> bool:
    if isinstance(peer, str):
        return True
    return "namespaceSelector" not in peer and selects(peer.get("podSelector"), pod.labels)
