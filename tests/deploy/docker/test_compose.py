"""deploy/compose.yaml: who reaches whom, what a container may do, and that every setting in it exists."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from services.common.settings import Settings
from tests.deploy.docker.dockerfile import BACKENDS, ROOT, SERVICES, read

PATH = ROOT / "deploy/compose.yaml"
OF_HUBS = {"HF_TOKEN"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found = yaml.safe_load(PATH.read_text())
    assert isinstance(found, dict)
    return found


def variables(text: str) -> dict[str, str]:
    """What is put in from .env, with the default after :- or the message after :?."""
    return {name: rest for name, rest in re.findall(r"\$\{(\w+)(?::[-?]([^}]*))?\}", text)}


def put_in(text: str) -> str:
    """A value as Compose reads it without .env."""
    return re.sub(r"\$\{\w+(?::[-?]([^}]*))?\}", r"\1", text)


def test_every_image_is_a_version(compose: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, service in compose["services"].items():
        image = put_in(service["image"])
        if name in SERVICES:
            assert image == f"likeness/{name}:{version}"
            assert (ROOT / "deploy" / service["build"]["context"]).resolve() == ROOT
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        else:
            assert re.fullmatch(r"\w+:\d+\.\d+(\.\d+)?-bookworm(@sha256:[0-9a-f]{64})?", image), image


def test_every_container_is_hardened_and_limited(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "network_mode", "pid", "ipc"} & set(service), name
        assert name in SERVICES or service["user"] == "999:999", name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} == set(limits), name
        assert "healthcheck" in service or name in SERVICES, name
        assert service["logging"]["options"]["max-size"], name


def test_every_setting_exists(compose: dict[str, Any]) -> None:
    known = {f"LIKENESS_{name.upper()}" for name in Settings.model_fields} | OF_HUBS
    for name in SERVICES:
        assert set(compose["services"][name]["environment"]) <= known, name


def test_settings_are_valid_together(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        given = {key: value for key, value in compose["services"][name]["environment"].items() if value is not None}
        image = {key: value for key, value in read(name).environment().items() if key != "LIKENESS_METRICS_PORT"}
        values = {key: put_in(value) for key, value in {**image, **given}.items() if key.startswith("LIKENESS_")}
        settings = Settings(**{key.removeprefix("LIKENESS_").lower(): value for key, value in values.items()})
        assert settings.profile == "embedded"
        if name == "gateway":
            assert settings.tls_certificate and settings.tls_key and not settings.allow_plaintext
            assert settings.require_keys is None, "keys are asked for, as the gateway listens on all addresses"
        else:
            assert settings.device == "cuda"


def test_only_the_gateway_reaches_backends_and_stores(compose: dict[str, Any]) -> None:
    services = compose["services"]
    members = {
        network: {name for name, service in services.items() if network in service["networks"]}
        for network in compose["networks"]
    }
    assert members == {
        "front": {"gateway"},
        "stores": {"gateway", "postgres", "redis"},
        **{name: {"gateway", name} for name in BACKENDS},
    }
    assert compose["networks"]["stores"] == {"internal": True}
    assert [name for name, service in services.items() if "ports" in service] == ["gateway"]


def test_the_gateway_calls_where_the_others_listen(compose: dict[str, Any]) -> None:
    environment = compose["services"]["gateway"]["environment"]
    for name in BACKENDS:
        address = environment[f"LIKENESS_{name.upper()}_ADDRESS"]
        assert address == f"{name}:{read(name).environment()['LIKENESS_SERVE_GRPC_PORT']}"
    assert "@postgres:5432/" in environment["LIKENESS_DATABASE_URL"]
    assert environment["LIKENESS_REDIS_URL"].startswith("redis://redis:6379")
    published = [put_in(port) for port in compose["services"]["gateway"]["ports"]]
    assert published == ["7400:7400", "127.0.0.1:7401:7401"], "metrics and health are for the host only"


def test_secrets_are_files_that_the_gateway_reads(compose: dict[str, Any]) -> None:
    gateway = compose["services"]["gateway"]
    for setting in ("LIKENESS_TLS_CERTIFICATE", "LIKENESS_TLS_KEY"):
        secret = gateway["environment"][setting].removeprefix("/run/secrets/")
        assert secret in gateway["secrets"] and compose["secrets"][secret]["file"].startswith("secrets/")
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"deploy/.env", "deploy/secrets/"} <= set(ignored)


def test_backends_have_a_gpu_and_room_for_models(compose: dict[str, Any]) -> None:
    for name in BACKENDS:
        service = compose["services"][name]
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
        assert put_in(device["device_ids"][0]) == "0"
        assert service["volumes"] == ["models:/var/cache/likeness"]
        assert service["init"] is True


def test_what_images_write_is_mounted(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        mounted = [mount.split(":")[1] for mount in service.get("volumes", [])]
        mounted += [mount.split(":")[0] for mount in service["tmpfs"]]
        assert "/tmp" in mounted, name
        if name in SERVICES:
            volume = read(name).last("VOLUME").strip('["]')
            assert volume in mounted, name
        for mount in service.get("volumes", []):
            assert mount.split(":")[0] in compose["volumes"], mount


def test_the_example_of_env_has_what_must_be_set() -> None:
    example = (ROOT / "deploy/compose.env.example").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.M))
    found = variables(PATH.read_text())
    required = {name for name in found if f"${{{name}:?" in PATH.read_text()}
    assert required == {"POSTGRES_PASSWORD"}
    optional = set(found) | {"LIKENESS_GENERATOR_MEMORY_MIB"}
    assert required <= named <= optional
