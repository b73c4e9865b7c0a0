"""Every example of docs/api.md runs as it stands against a real gateway, and makes the call that it stands for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import likeness
from docs.api.__main__ import examples
from likeness.gateway.v1 import catalog_service_pb2, catalog_service_pb2_grpc
from services.common.settings import Settings
from services.gateway.access.bootstrap import create_admin_key
from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.health import HealthMonitor
from services.gateway.rpc.catalog_servicer import CatalogServicer
from tests.gateway.conftest import PROFILE, Gateway, Parts, clear, running
from tests.gateway.doubles import draw

pytestmark = pytest.mark.integration

EXAMPLES = examples()
CANCELS = ("SessionService.CancelLoop", "RaceService.CancelRace", "EvaluationService.CancelEvaluation")
PICTURES = {"target.png": "rgb 200 60 90", "best.png": "rgb 190 70 90", "other.png": "rgb 20 200 90"}


class Recorder(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Paths of the calls that were answered without an error."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        call = continuation(details, request)
        if call.code() is grpc.StatusCode.OK:
            self.paths.append(details.method)
        return call

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return self._seen(continuation(details, request), details.method)

    def intercept_stream_stream(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return self._seen(continuation(details, requests), details.method)

    def _seen(self, call: Any, path: str) -> Any:
        return _Stream(call, lambda: self.paths.append(path))


class _Stream:
    """A streaming call that tells of its first answer."""

    def __init__(self, call: Any, answered: Callable[[], None]) -> None:
        self._call = call
        self._answered = answered

    def __iter__(self) -> Iterator[Any]:
        for answer in self._call:
            self._answered()
            yield answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


@pytest.fixture
async def gateway(database_url: str) -> AsyncIterator[Gateway]:
    """A gateway with every service, on a real socket."""
    parts = Parts()
    parts.scorer.has_lpips = True
    monitor = HealthMonitor({"object_store": parts.objects.check})
    await monitor.check_now()
    catalog = CatalogServicer(
        generator=parts.generator,
        scorer=parts.scorer,
        refiner=parts.refiner,
        monitor=monitor,
        profile=PROFILE,
        version=likeness.__version__,
    )

    def add_catalog(server: grpc.aio.Server) -> str:
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(catalog, server)
        return catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name

    async with running(database_url, parts, also=(add_catalog,)) as one:
        yield one
    await clear(database_url)


@pytest.fixture
async def calls(gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of successful calls; whatever address a program names, it reaches the gateway of the test, with a key."""
    key = await create_admin_key(Settings(database_url=database_url), DEFAULT_TENANT, "")
    monkeypatch.setenv("LIKENESS_API_KEY", key["key_text"])
    recorder, connect = Recorder(), grpc.insecure_channel

    def redirected(_: str, **options: Any) -> grpc.Channel:
        return grpc.intercept_channel(connect(f"127.0.0.1:{gateway.server.port}", **options), recorder)

    monkeypatch.setattr(grpc, "insecure_channel", redirected)
    return recorder.paths


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_example_runs(
    name: str,
    gateway: Gateway,
    calls: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if name in CANCELS:
        # What they cancel would sometimes have ended by itself before.
        monkeypatch.setattr(gateway.parts.scorer, "score", _never)
    for file, color in PICTURES.items():
        (tmp_path / file).write_bytes(draw(color, 7))
    await asyncio.to_thread(exec, compile(EXAMPLES[name], name, "exec"), {"__name__": "__main__"})
    assert f"/likeness.gateway.v1.{name.replace('.', '/')}" in calls
    assert capsys.readouterr().out.strip() or ".Delete" in name, "an example shows what it got"


async def _never(**_: object) -> None:
    await asyncio.Event().wait()
