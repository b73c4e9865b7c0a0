"""What the doctor makes of the answers of a gateway: version, clock, parts, models, metrics, a round trip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest

from likeness import Status, __version__
from likeness._types import ComponentStatus, Health
from likeness.doctor import State
from likeness.doctor.parts import clock, parts
from likeness.gateway.v1 import catalog_service_pb2 as pb
from likeness.types.v1 import model_pb2, score_pb2
from tests.likeness.doctor.conftest import Diagnose
from tests.likeness.gateway.faults import Fault
from tests.likeness.gateway.server import TestGateway

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES = ("generator", "scorer", "refiner", "database", "cache", "object_store")


def status(health: Health = Health.SERVING, server_time: datetime | None = None, **parts: Health) -> Status:
    components = tuple(ComponentStatus(name, parts.get(name, Health.SERVING), "") for name in NAMES)
    return Status(health, components, __version__, "embedded", server_time)


def test_a_deployment_that_is_well(diagnose: Diagnose, gateway: TestGateway) -> None:
    found = diagnose(gateway.address)
    assert {found[check].state for check in ("address", "port", "gateway", "version", *NAMES)} == {State.OK}
    assert "profile embedded" in found["gateway"].message


def test_another_version(diagnose: Diagnose, gateway: TestGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likeness.doctor.parts.__version__", "0.9.0")
    found = diagnose(gateway.address)["version"]
    assert found.state is State.WARNING
    assert "the client is 0.9.0, the gateway 0.1.0" in found.message and "likeness==0.1.0" in found.advice


@pytest.mark.parametrize(("seconds", "side"), [(90, "90 s ahead of"), (-90, "90 s behind")])
def test_clocks_that_differ(seconds: int, side: str) -> None:
    found = clock(status(server_time=NOW + timedelta(seconds=seconds)), NOW, NOW)
    assert found.state is State.WARNING and side in found.message and "NTP" in found.advice


def test_a_slow_answer_is_no_skew() -> None:
    asked, answered = NOW, NOW + timedelta(seconds=60)
    for moment in (asked, NOW + timedelta(seconds=30), answered):
        assert clock(status(server_time=moment), asked, answered).state is State.OK


def test_a_gateway_that_does_not_tell_its_time(diagnose: Diagnose, gateway: TestGateway) -> None:
    assert diagnose(gateway.address)["clock"].state is State.NOTE


@pytest.mark.parametrize("name", NAMES)
def test_a_part_that_is_down(name: str) -> None:
    found = {one.check: one for one in parts(status(Health.NOT_SERVING, **{name: Health.NOT_SERVING}))}
    assert found.pop(name).state is State.PROBLEM
    assert {one.state for one in found.values()} == {State.OK}


def test_a_cache_that_is_down_is_a_warning() -> None:
    found = {one.check: one for one in parts(status(Health.DEGRADED, cache=Health.DEGRADED))}
    assert found["cache"].state is State.WARNING and "LIKENESS_REDIS_URL" in found["cache"].advice


def test_a_gateway_that_is_stopping() -> None:
    (found,) = [one for one in parts(status(Health.NOT_SERVING)) if one.state is State.PROBLEM]
    assert found.check == "gateway" and "stopping" in found.message


def test_what_is_absent_and_why(diagnose: Diagnose, gateway: TestGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnose(gateway.address)
    assert "the refiner does not say" in found["models"].message
    assert found["metrics"].message == "lpips-squeeze is absent: no weights were found"

    async def broken(request: object, context: object) -> pb.ListModelsResponse:
        failed = model_pb2.Model(id="sd15", load_state=model_pb2.LOAD_STATE_FAILED, load_problem="no room")
        return pb.ListModelsResponse(models=[failed])

    async def nothing(request: object, context: object) -> pb.ListMetricsResponse:
        return pb.ListMetricsResponse(metrics=[score_pb2.Metric(id="psnr")])

    monkeypatch.setattr(gateway.catalog, "ListModels", broken)
    monkeypatch.setattr(gateway.catalog, "ListMetrics", nothing)
    gateway.restart()
    found = diagnose(gateway.address)
    assert found["models"].message == "sd15 is not loaded: no room"
    assert "no metric of the profile can steer" in found["metrics"].message and "psnr" in found["metrics"].advice


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING", "Set LIKENESS_API_KEY"),
        (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID", "a key of this deployment"),
        (grpc.StatusCode.UNAUTHENTICATED, "KEY_EXPIRED", "a new one"),
        (grpc.StatusCode.UNAUTHENTICATED, "KEY_REVOKED", "a new one"),
        (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_TOO_NARROW", "a key that may do this"),
        (grpc.StatusCode.INTERNAL, "INTERNAL", "log"),
    ],
)
def test_a_gateway_that_refuses(
    diagnose: Diagnose, gateway: TestGateway, code: grpc.StatusCode, reason: str, advice: str
) -> None:
    gateway.faults.add("GetStatus", Fault(code, reason, "the key is not good"))
    found = diagnose(gateway.address)
    assert found["gateway"].state is State.PROBLEM and "the key is not good" in found["gateway"].message
    assert advice in found["gateway"].advice
    assert found["models"].state is State.SKIPPED


def test_a_round_trip(diagnose: Diagnose, gateway: TestGateway) -> None:
    found = diagnose(gateway.address, deep=True)
    assert "a picture in 2 steps took" in found["generate"].message
    assert "by clip-embedded, phash, psnr took" in found["score"].message
    gateway.faults.add("ScoreImages", Fault(grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", "the scorer is gone"))
    found = diagnose(gateway.address, deep=True)
    assert found["score"].state is State.PROBLEM and "the scorer is gone" in found["score"].message
    gateway.faults.add("GenerateImages", Fault(grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE", "no weights"))
    found = diagnose(gateway.address, deep=True)
    assert "no weights" in found["generate"].message and "score" not in found
