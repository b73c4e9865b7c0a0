"""RayServices: what Serve is told to run, whether the gateway asks for it there, and whether there is room for it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from likeness.doctor.findings import Finding, problem, warning
from services.cluster.grpc_proxy import SERVICERS
from services.cluster.ray_cluster import APPLICATIONS
from services.doctor.manifests.environment import reach
from services.doctor.manifests.model import BACKENDS, Manifests, Object, Pod, name_of, title

CHECK = "backends"
_SERVE_SVC = "-serve-svc"
"""KubeRay names the Service of a RayService so; it follows the cluster that serves, through upgrades."""


def serve_config(service: Object) -> Mapping[str, Any]:
    """The Serve configuration of a RayService; {} if it is none."""
    try:
        config = yaml.safe_load(service["spec"].get("serveConfigV2") or "")
    except yaml.YAMLError:
        return {}
    return config if isinstance(config, dict) else {}


def deployments(service: Object) -> Iterator[Mapping[str, Any]]:
    """What a RayService deploys, over all its applications."""
    for application in serve_config(service).get("applications") or ():
        yield from application.get("deployments") or ()


def backends(manifests: Manifests) -> Iterator[Finding]:
    """Serve configurations, Ray's environment, and the gateway's addresses."""
    for service in manifests.of("RayService"):
        yield from _config(service)
        yield from _ray(manifests, service)
        yield from _room(manifests, service)
    for pod in manifests.pods:
        if pod.part == "gateway":
            environment = manifests.environment(pod.containers[0])
            for application in BACKENDS:
                name = f"LIKENESS_{application.upper()}_ADDRESS"
                yield from _address(manifests, f"{pod.where}: {name}", environment.get(name), application)


def _config(service: Object) -> Iterator[Finding]:
    where, config = title(service), serve_config(service)
    if not config.get("applications"):
        yield _problem(f"{where}: serveConfigV2 is no YAML with applications", "KubeRay would wait for ever.")
        return
    grpc = config.get("grpc_options") or {}
    functions = set(grpc.get("grpc_servicer_functions") or ())
    if unknown := functions - set(SERVICERS):
        advice = f"They are {', '.join(SERVICERS)}."
        yield _problem(
            f"{where}: grpc_servicer_functions names {', '.join(sorted(unknown))}, which is not there", advice
        )
    if (config.get("http_options") or {}).get("host", "127.0.0.1") != "0.0.0.0":
        message = f"{where}: Serve listens on loopback, where KubeRay cannot see whether it is well"
        yield _problem(message, "Set http_options.host to 0.0.0.0 in serveConfigV2.")
    declared = {port for pod in _pods(service) for name, port in pod.items() if name == "serve-grpc"}
    if declared != {grpc.get("port", 9000)}:
        message = f"{where}: Serve takes gRPC on {grpc.get('port', 9000)}, and the ports named serve-grpc are "
        advice = "Name the container port serve-grpc in head and workers, and give it Serve's number."
        yield _problem(message + (", ".join(map(str, sorted(declared))) or "not declared"), advice)
    for application in config["applications"]:
        yield from _application(where, application, functions)


def _application(where: str, application: Mapping[str, Any], functions: set[str]) -> Iterator[Finding]:
    name = application.get("name", "")
    if name not in APPLICATIONS:
        message = f"{where}: the gateway asks for no application {name!r}"
        yield _problem(message, f"Name it {', '.join(APPLICATIONS)}: calls are routed by this name.")
        return
    if application.get("import_path") != APPLICATIONS[name]:
        message = f"{where}: application {name} is imported from {application.get('import_path')}"
        yield _problem(message, f"It lies at {APPLICATIONS[name]}.")
    if not any(one.endswith(f".add_{name}") for one in functions):
        message = f"{where}: Serve's gRPC proxy does not know the service of {name}: its calls are UNIMPLEMENTED"
        yield _problem(message, f"Add services.cluster.grpc_proxy.add_{name} to grpc_servicer_functions.")
    for deployment in application.get("deployments") or ():
        if deployment.get("name") != name:
            message = f"{where}: application {name} has no deployment {deployment.get('name')!r}"
            yield _problem(message, f"Its one deployment is called {name}.")
        if int(deployment.get("max_queued_requests", 1)) < 0:
            message = f"{where}: {name} lets calls wait without a bound"
            yield _problem(message, "Set max_queued_requests: overload is told to callers then, not to the memory.")


def _ray(manifests: Manifests, service: Object) -> Iterator[Finding]:
    where, cluster = title(service), service["spec"]["rayClusterConfig"]
    wanted = importlib.metadata.version("ray")
    if str(cluster.get("rayVersion", wanted)) != wanted:
        advice = "It must be the version in the images; the autoscaler is chosen by it."
        message = f"{where}: rayVersion is {cluster['rayVersion']}, the images have {wanted}"
        yield warning(CHECK, message, advice)
    if (cluster.get("authOptions") or {}).get("mode") != "token":
        message = f"{where}: Ray runs what anybody sends to its ports, for want of authOptions.mode: token"
        yield warning(CHECK, message, "KubeRay makes the token then.")
    environments = [
        {
            name: value
            for name, value in manifests.environment(pod.containers[0]).items()
            if name.startswith("LIKENESS_")
        }
        for pod in manifests.pods
        if pod.owner is service
    ]
    if any(one != environments[0] for one in environments):
        names = {name for one in environments for name, _ in one.items() ^ environments[0].items()}
        message = f"{where}: {', '.join(sorted(names))} differ between head and workers"
        advice = "Serve reads settings on whichever pod builds the application: give all pods the same."
        yield _problem(message, advice)


def _room(manifests: Manifests, service: Object) -> Iterator[Finding]:
    """Whether the least number of replicas fits into as many workers as there may be."""
    pods = [pod for pod in manifests.pods if pod.owner is service]
    for unit, of_pod in (("num_cpus", _cpus), ("num_gpus", lambda pod: float(pod.gpus()))):
        room = sum(pod.most * of_pod(pod) for pod in pods)
        largest = max((of_pod(pod) for pod in pods), default=0.0)
        for deployment in deployments(service):
            each = float((deployment.get("ray_actor_options") or {}).get(unit, 0))
            autoscaling = deployment.get("autoscaling_config") or {}
            count = int(autoscaling.get("min_replicas", deployment.get("num_replicas", 1)))
            if each > largest or count * each > room:
                what = unit.removeprefix("num_").upper()
                message = (
                    f"{title(service)}: {count} replicas of {deployment['name']} want {count * each:g} {what}, and its "
                    f"pods have {room:g} at most, {largest:g} in one"
                )
                yield _problem(message, "They would wait for ever: raise maxReplicas or the limits of the pods.")


def _cpus(pod: Pod) -> float:
    """CPUs that Ray counts in a pod: what it is told, else the limit, rounded up, as KubeRay does."""
    told = (pod.ray_start or {}).get("num-cpus")
    limit = str(pod.containers[0].spec.get("resources", {}).get("limits", {}).get("cpu", 0))
    return float(told) if told is not None else -(-float(limit.removesuffix("m")) // (1000 if "m" in limit else 1))


def _address(manifests: Manifests, where: str, address: str | None, application: str) -> Iterator[Finding]:
    services = manifests.of("RayService")
    serving = [
        f"{name_of(one)}{_SERVE_SVC}:{(serve_config(one).get('grpc_options') or {}).get('port', 9000)}"
        for one in services
        if any(app.get("name") == application for app in serve_config(one).get("applications") or ())
    ]
    advice = f"It is served at {' or '.join(serving)}." if serving else f"No RayService here serves {application}."
    if not address:
        yield _problem(f"{where} is not set: it means this pod itself", advice)
        return
    host, _, port = address.rpartition(":")
    name = host.split(".")[0]
    if name.endswith(_SERVE_SVC) and ("." not in host or ".svc" in host):
        if f"{name}:{port}" not in serving:
            yield _problem(f"{where} is {address}, where no {application} is served", advice)
    elif "://" in address or not port.isdigit():
        yield _problem(f"{where} is {address}", f"Write it as HOST:PORT, without a scheme. {advice}")
    else:
        yield from reach(manifests, CHECK, where, address, 9000)


def _pods(service: Object) -> Iterator[dict[str, int]]:
    return (pod.ports for pod in Manifests((service,)).pods)


def _problem(message: str, advice: str) -> Finding:
    return problem(CHECK, message, advice)
