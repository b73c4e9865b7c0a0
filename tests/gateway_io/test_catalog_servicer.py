"""CatalogService through gRPC over the three backends."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from likeness.gateway.v1 import catalog_service_pb2 as pb
from likeness.gateway.v1.catalog_service_pb2_grpc import CatalogServiceStub, add_CatalogServiceServicer_to_server
from services.common.errors import Reason, UnavailableError
from services.common.profile import Defaults, GeneratorModel, Profile
from services.gateway.backends.clients import GeneratorClient, RefinerClient, ScorerClient
from services.gateway.health import HealthMonitor
from services.gateway.rpc.catalog_servicer import CatalogServicer
from services.gateway.rpc.interceptors import CallInterceptor
from tests.gateway_io.seam import Backends

PROFILE = Profile(
    name="test",
    description="Seam.",
    generators=(GeneratorModel(id="paint", source="paint"),),
    defaults=Defaults(metrics=("pixels", "not-offered", "mean"), selection_metrics=("mean",)),
)
DOWN = UnavailableError(Reason.MODEL_UNAVAILABLE, "no weights")


@pytest_asyncio.fixture
async def stub(backends: Backends) -> AsyncIterator[CatalogServiceStub]:
    clients = [kind(backends.address) for kind in (GeneratorClient, ScorerClient, RefinerClient)]
    generator, scorer, refiner = clients
    monitor = HealthMonitor({"generator": generator.check, "scorer": scorer.check, "refiner": refiner.check})
    await monitor.check_now()
    servicer = CatalogServicer(
        generator=generator, scorer=scorer, refiner=refiner, monitor=monitor, profile=PROFILE, version="9.9"
    )
    server = grpc.aio.server(interceptors=[CallInterceptor()])
    add_CatalogServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield CatalogServiceStub(channel)
    await server.stop(None)
    for client in clients:
        await client.close()


async def test_models_of_all_services_the_generators_first(stub: CatalogServiceStub) -> None:
    response = await stub.ListModels(pb.ListModelsRequest())
    assert [model.id for model in response.models] == ["paint", "mean", "captioner"]
    assert response.models[0].generation_limits.max_steps == 9
    assert response.unreachable == []


async def test_a_service_that_does_not_answer_is_named(backends: Backends, stub: CatalogServiceStub) -> None:
    backends.scorer.failures.add_error(DOWN)
    response = await stub.ListModels(pb.ListModelsRequest())
    assert list(response.unreachable) == ["scorer"]
    assert [model.id for model in response.models] == ["paint", "captioner"]


async def test_no_answer_at_all_is_unavailable(backends: Backends, stub: CatalogServiceStub) -> None:
    for backend in (backends.scorer, backends.generator, backends.refiner):
        backend.failures.add_error(DOWN)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListModels(pb.ListModelsRequest())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_metrics_with_the_defaults_that_are_offered(stub: CatalogServiceStub) -> None:
    response = await stub.ListMetrics(pb.ListMetricsRequest())
    assert [metric.id for metric in response.metrics] == ["mean", "pixels", "mean-text", "bright", "channels"]
    assert list(response.default_metrics) == ["pixels", "mean"]
    assert list(response.default_selection_metrics) == ["mean"]
    assert [(metric.id, metric.reason) for metric in response.absent] == [("heavy", "its weights are not here")]


async def test_strategies_the_default_first(stub: CatalogServiceStub) -> None:
    response = await stub.ListStrategies(pb.ListStrategiesRequest())
    assert [(one.id, one.embedded) for one in response.strategies] == [("repainter", True), ("llm", False)]


async def test_status_names_every_part(stub: CatalogServiceStub) -> None:
    response = await stub.GetStatus(pb.GetStatusRequest())
    assert response.health == pb.HEALTH_SERVING
    assert [one.component for one in response.components] == ["generator", "scorer", "refiner"]
    assert (response.version, response.profile) == ("9.9", "test")
