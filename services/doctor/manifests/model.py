"""Kubernetes manifests as the checks see them: objects, the pods that they make, and the environment in each."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Object = Mapping[str, Any]

BACKENDS = ("generator", "scorer", "refiner")
SECRETS_BY_HAND = "likeness/secrets-made-by-hand"
"""Annotation of the Namespace: names of Secrets, with commas, that are made outside these manifests."""
_OWN = ("gateway", *BACKENDS)
_WITH_TEMPLATE = ("Deployment", "StatefulSet", "DaemonSet", "Job")


@dataclass(frozen=True)
class Container:
    """One container of a pod.

    Attributes:
        where: For people, such as "Deployment gateway, container gateway".
        is_init: Whether it ends before the others start.
    """

    where: str
    spec: Object
    is_init: bool = False

    @property
    def image(self) -> str:
        """As written."""
        return str(self.spec.get("image", ""))

    @property
    def ports(self) -> dict[str, int]:
        """Declared ports by name; a port without a name has its number for one."""
        return {str(one.get("name", one["containerPort"])): one["containerPort"] for one in self.spec.get("ports", ())}


@dataclass(frozen=True)
class Pod:
    """A kind of pod that an object makes.

    Attributes:
        where: For people, such as "RayService generator, workers".
        owner: The object.
        replicas: How many there are at least.
        most: How many there may be.
        ray_start: Parameters of `ray start`, in pods of a RayService.
        runs_once: Whether it ends by itself, as a Job does.
    """

    where: str
    owner: Object
    labels: Mapping[str, str]
    spec: Object
    replicas: int = 1
    most: int = 1
    ray_start: Mapping[str, str] | None = None
    runs_once: bool = False

    @property
    def containers(self) -> list[Container]:
        """All containers, those that run first at the end."""
        first = self.spec.get("initContainers") or ()
        return [Container(f"{self.where}, container {one.get('name')}", one) for one in self.spec["containers"]] + [
            Container(f"{self.where}, init container {one.get('name')}", one, is_init=True) for one in first
        ]

    @property
    def ports(self) -> dict[str, int]:
        """Declared ports of all containers."""
        return {name: port for one in self.containers for name, port in one.ports.items()}

    @property
    def part(self) -> str:
        """ "gateway", "generator", "scorer" or "refiner" by its image; "" for anything else, and for Jobs."""
        names = [one.image.split("@")[0].rsplit("/", 1)[-1].split(":")[0] for one in self.containers if not one.is_init]
        return next((name for name in names if name in _OWN and not self.runs_once), "")

    def gpus(self) -> int:
        """GPUs of one such pod."""
        limits = [one.spec.get("resources", {}).get("limits", {}) for one in self.containers]
        return sum(int(amount) for each in limits for name, amount in each.items() if name.endswith("/gpu"))


@dataclass(frozen=True)
class Manifests:
    """Everything of one deployment.

    Attributes:
        objects: In the order in which they were read.
        nodes: Node objects of the real cluster, where somebody has put them beside the manifests.
    """

    objects: tuple[Object, ...]
    nodes: tuple[Object, ...] = ()

    def of(self, *kinds: str) -> list[Object]:
        """Objects of some kinds."""
        return [one for one in self.objects if one.get("kind") in kinds]

    def find(self, kind: str, name: str) -> Object | None:
        """An object by its name."""
        return next((one for one in self.of(kind) if name_of(one) == name), None)

    @cached_property
    def pods(self) -> list[Pod]:
        """Every kind of pod."""
        return [pod for one in self.objects for pod in _pods(one)]

    @cached_property
    def by_hand(self) -> frozenset[str]:
        """Names of Secrets that somebody makes outside these manifests."""
        said = [(one.get("metadata", {}).get("annotations") or {}) for one in self.of("Namespace")]
        return frozenset(name.strip() for one in said for name in one.get(SECRETS_BY_HAND, "").split(",") if name)

    def values_of_secret(self, name: str) -> dict[str, str | None] | None:
        """Values by key, None where they are not known here; None altogether if there is no such Secret here."""
        secret = self.find("Secret", name)
        if secret is not None:
            return {**_decoded(secret.get("data") or {}), **(secret.get("stringData") or {})}
        for external in self.of("ExternalSecret"):
            spec = external.get("spec", {})
            if spec.get("target", {}).get("name", name_of(external)) == name:
                return {one["secretKey"]: None for one in spec.get("data", ())}
        return None

    def environment(self, container: Container) -> dict[str, str | None]:
        """Variables of a container; None where a value is not known here."""
        found: dict[str, str | None] = {}
        for one in container.spec.get("envFrom") or ():
            prefix = one.get("prefix", "")
            if reference := one.get("configMapRef"):
                values: Mapping[str, str | None] = (self.find("ConfigMap", reference["name"]) or {}).get("data") or {}
            else:
                values = self.values_of_secret(one.get("secretRef", {}).get("name", "")) or {}
            found.update({f"{prefix}{name}": value for name, value in values.items()})
        for one in container.spec.get("env") or ():
            found[one["name"]] = self._value(one)
        return found

    def _value(self, variable: Object) -> str | None:
        source = variable.get("valueFrom")
        if source is None:
            return str(variable.get("value", ""))
        if reference := source.get("configMapKeyRef"):
            data = (self.find("ConfigMap", reference["name"]) or {}).get("data") or {}
            value: str | None = data.get(reference["key"])
            return value
        if reference := source.get("secretKeyRef"):
            return (self.values_of_secret(reference["name"]) or {}).get(reference["key"])
        return None


def name_of(one: Object) -> str:
    """Name of an object."""
    return str((one.get("metadata") or {}).get("name", ""))


def title(one: Object) -> str:
    """Kind and name of an object, for people."""
    return f"{one.get('kind', 'object without a kind')} {name_of(one)}".strip()


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes labels; an empty one takes all, None nothing."""
    if selector is None:
        return False
    wanted: Mapping[str, str] = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(one, labels) for one in selector.get("matchExpressions") or ())


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


def _pods(one: Object) -> Iterator[Pod]:
    kind, spec = one.get("kind"), one.get("spec") or {}
    if kind in _WITH_TEMPLATE:
        count = 1 if kind == "Job" else int(spec.get("replicas", 1))
        yield _pod(title(one), one, spec["template"], replicas=count, most=count, runs_once=kind == "Job")
    elif kind == "CronJob":
        yield _pod(title(one), one, spec["jobTemplate"]["spec"]["template"], runs_once=True)
    elif kind == "RayService":
        cluster = spec["rayClusterConfig"]
        head = cluster["headGroupSpec"]
        yield _ray_pod(f"{title(one)}, head", one, head, "head")
        for group in cluster.get("workerGroupSpecs") or ():
            yield _ray_pod(f"{title(one)}, {group.get('groupName', 'workers')}", one, group, "worker")


def _ray_pod(where: str, owner: Object, group: Object, node_type: str) -> Pod:
    count = int(group.get("replicas", 1))
    return Pod(
        where,
        owner,
        # KubeRay adds labels of its own; this is the one that others select by.
        {**(group["template"]["metadata"].get("labels") or {}), "ray.io/node-type": node_type},
        group["template"]["spec"],
        replicas=int(group.get("minReplicas", count)),
        most=int(group.get("maxReplicas", count)),
        ray_start=group.get("rayStartParams") or {},
    )


def _pod(where: str, owner: Object, template: Object, **options: Any) -> Pod:
    labels = (template.get("metadata") or {}).get("labels") or {}
    return Pod(where, owner, labels, template["spec"], **options)


def _decoded(data: Mapping[str, str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for key, value in data.items():
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            found[key] = None
    return found
