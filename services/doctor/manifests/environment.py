"""Settings in manifests: names that nobody reads, values that cannot be read, contradictions, stores, passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from likeness.doctor.findings import Finding, State, note, problem, warning
from services.common.settings import Settings
from services.doctor.manifests.model import Container, Manifests, Object, Pod, name_of
from services.doctor.settings import agreement, profile, unknown_names
from services.gateway.listening import is_loopback

Environment = Mapping[str, str | None]

_PREFIX = "LIKENESS_"
_WITH_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_SECRET_NAMES = ("API_KEY", "PASSWORD", "TOKEN", "SECRET_ACCESS_KEY")
_NEEDED = ("LIKENESS_DATABASE_URL", "LIKENESS_REDIS_URL", "LIKENESS_OBJECT_STORE_URL")
_STORE_PORTS = {"LIKENESS_DATABASE_URL": 5432, "LIKENESS_REDIS_URL": 6379}


class _Given(Settings):
    """Settings from what they are given alone, not from the environment of this process."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments."""
        return (init_settings,)


def settings_of(environment: Environment) -> Settings | None:
    """Settings as a process with this environment reads them; None if it cannot. Unknown values are left out."""
    try:
        return _Given(**_fields(environment))
    except ValidationError:
        return None


def settings(manifests: Manifests) -> Iterator[Finding]:
    """Every variable of ours in every container."""
    for pod in manifests.pods:
        for container in pod.containers:
            environment = manifests.environment(container)
            yield from _of(manifests, container, environment)
            if pod.part == "gateway":
                yield from _listening(container, environment)
    yield from _passwords(manifests)


def stores(manifests: Manifests) -> Iterator[Finding]:
    """Where gateways find PostgreSQL, Redis and pictures."""
    for pod in manifests.pods:
        if pod.part != "gateway":
            continue
        container = pod.containers[0]
        environment = manifests.environment(container)
        unknown = any(
            (one.get("secretRef") or {}).get("name") in manifests.by_hand for one in container.spec.get("envFrom") or ()
        )
        for name in _NEEDED:
            if name not in environment and not (unknown and name in _STORE_PORTS):
                advice = "Set it in a ConfigMap, or in a Secret if it has a password."
                yield problem("stores", f"{container.where}: {name} is not set", advice)
        for name, port in _STORE_PORTS.items():
            if url := environment.get(name):
                yield from reach(manifests, "stores", f"{container.where}: {name}", url, port)
        yield from _pictures(pod, environment.get("LIKENESS_OBJECT_STORE_URL") or "")
    for one in manifests.of("RayService"):
        redis = one["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions") or {}
        if address := redis.get("redisAddress"):
            yield from reach(manifests, "stores", f"RayService {name_of(one)}: redisAddress", address, 6379)


def reach(manifests: Manifests, check: str, where: str, url: str, default_port: int) -> Iterator[Finding]:
    """Whether the host of a URL, or of host:port, can be there."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    try:
        host, port = parts.hostname or "", parts.port or default_port
    except ValueError:
        yield problem(check, f"{where} has no number for a port", "Write it as HOST:PORT.")
        return
    if is_loopback(host):
        message = f"{where} names {host}: a pod finds only itself there"
        yield problem(check, message, "Name a Service, or a host outside the cluster.")
        return
    if host.endswith((".example", ".example.com", ".example.org")):
        yield note(check, f"{where} still names {host}", "Put your own host there.")
        return
    in_cluster = "." not in host or ".svc" in host
    name = host.split(".")[0]
    if not in_cluster or any(name == f"{name_of(one)}-serve-svc" for one in manifests.of("RayService")):
        return
    service = manifests.find("Service", name)
    if service is None:
        message = f"{where} names {host}, and there is no Service {name}"
        yield problem(check, message, "Mend the name; a host outside the cluster is written in full.")
    elif port not in [one["port"] for one in service["spec"].get("ports") or ()]:
        message = f"{where} asks port {port} of Service {name}, which has another"
        yield problem(check, message, "Make the two agree.")


def _of(manifests: Manifests, container: Container, environment: Environment) -> Iterator[Finding]:
    names = {name: value or "" for name, value in environment.items()}
    for found in unknown_names(names):
        yield problem("settings", f"{container.where}: {found.message}", found.advice)
    if not any(name.startswith(_PREFIX) for name in environment):
        return
    try:
        read = _Given(**_fields(environment))
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            field = ".".join(str(part) for part in one["loc"])
            reason = one["msg"].removeprefix("Value error, ")
            message = (
                f"{container.where}: {_PREFIX}{field.upper()}: {reason}" if field else f"{container.where}: {reason}"
            )
            yield problem("settings", message, "Nothing starts until it is mended.")
        return
    for found in agreement(read):
        yield Finding("settings", found.state, f"{container.where}: {found.message}", found.advice)
    # A path is one of the image, not of this machine.
    if not read.profile.endswith((".yaml", ".yml")):
        wrong = [found for found in profile(read) if found.state is not State.OK]
        yield from (Finding("settings", one.state, f"{container.where}: {one.message}", one.advice) for one in wrong)
    if read.llm_base_url:
        yield from reach(manifests, "settings", f"{container.where}: LIKENESS_LLM_BASE_URL", read.llm_base_url, 443)


def _listening(container: Container, environment: Environment) -> Iterator[Finding]:
    read = settings_of(environment)
    if read is None:
        return
    if is_loopback(read.gateway_host):
        message = f"{container.where}: it listens on {read.gateway_host}, where nobody outside its pod reaches it"
        yield problem("settings", message, "Set LIKENESS_GATEWAY_HOST=0.0.0.0.")
    elif read.tls_certificate is None and not read.allow_plaintext:
        message = f"{container.where}: it has no certificate and may not listen without one: it does not start"
        advice = (
            "Set LIKENESS_ALLOW_PLAINTEXT=true behind something that ends TLS, or LIKENESS_TLS_CERTIFICATE and _KEY."
        )
        yield problem("settings", message, advice)
    if read.require_keys is False:
        message = f"{container.where}: LIKENESS_REQUIRE_KEYS is off: whoever reaches it may do anything"
        yield warning("settings", message, "Remove it, and create keys with `likeness keys`.")


def _pictures(pod: Pod, url: str) -> Iterator[Finding]:
    if url.startswith("file:"):
        path = urlsplit(url).path
        mounts = [one for one in pod.containers[0].spec.get("volumeMounts") or () if path.startswith(one["mountPath"])]
        volumes = {one["name"]: one for one in pod.spec.get("volumes") or ()}
        volume = volumes.get(max(mounts, key=lambda one: len(one["mountPath"]))["name"], {}) if mounts else {}
        if "persistentVolumeClaim" not in volume:
            message = f"{pod.where}: pictures go to {path}, which is lost when the pod ends"
            yield problem("stores", message, "Mount a PersistentVolumeClaim there, or use s3://.")
        elif pod.most > 1:
            message = f"{pod.where}: {pod.most} gateways keep pictures in a folder, and each would see its own"
            advice = "Use s3://, or one replica, or a ReadWriteMany volume."
            yield warning("stores", message, advice)


def _passwords(manifests: Manifests) -> Iterator[Finding]:
    written: list[tuple[str, Object]] = [
        (f"ConfigMap {name_of(one)}", one.get("data") or {}) for one in manifests.of("ConfigMap")
    ]
    for pod in manifests.pods:
        for container in pod.containers:
            plain = {one["name"]: one.get("value") for one in container.spec.get("env") or ()}
            written.append((container.where, plain))
    for where, values in written:
        for name, value in values.items():
            if value and (_WITH_PASSWORD.search(str(value)) or name.endswith(_SECRET_NAMES)):
                message = f"{where}: {name} holds a password in the clear"
                yield problem("settings", message, "Put it into a Secret, and refer to that.")


def _fields(environment: Environment) -> dict[str, Any]:
    names = {f"{_PREFIX}{field.upper()}": field for field in Settings.model_fields}
    return {names[name]: value for name, value in environment.items() if name in names and value is not None}
