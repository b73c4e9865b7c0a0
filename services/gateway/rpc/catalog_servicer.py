"""CatalogService over gRPC: what the backends offer, and how everything is."""

from __future__ import annotations

import asyncio
from typing import Any

from likeness.gateway.v1 import catalog_service_pb2 as pb
from likeness.gateway.v1 import catalog_service_pb2_grpc
from likeness.types.v1 import score_pb2
from services.common.errors import LikenessError, Reason, UnavailableError
from services.common.profile import Profile
from services.gateway.health import Health, HealthMonitor
from services.gateway.ports import GeneratorPort, RefinerPort, ScorerPort
from services.gateway.rpc import converters
from services.gateway.rpc import type_converters as types

_HEALTH_TO_PROTO = {
    Health.SERVING: pb.HEALTH_SERVING,
    Health.DEGRADED: pb.HEALTH_DEGRADED,
    Health.NOT_SERVING: pb.HEALTH_NOT_SERVING,
}


class CatalogServicer(catalog_service_pb2_grpc.CatalogServiceServicer):
    """The public catalog API."""

    def __init__(
        self,
        *,
        generator: GeneratorPort,
        scorer: ScorerPort,
        refiner: RefinerPort,
        monitor: HealthMonitor,
        profile: Profile,
        version: str,
    ) -> None:
        self._generator = generator
        self._scorer = scorer
        self._refiner = refiner
        self._monitor = monitor
        self._profile = profile
        self._version = version

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        """Lists models of all services."""
        sources: dict[str, GeneratorPort | ScorerPort | RefinerPort] = {
            "generator": self._generator,
            "scorer": self._scorer,
            "refiner": self._refiner,
        }
        answers = await asyncio.gather(*(source.list_models() for source in sources.values()), return_exceptions=True)
        response = pb.ListModelsResponse()
        for name, answer in zip(sources, answers, strict=True):
            if isinstance(answer, LikenessError):
                response.unreachable.append(name)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                response.models.extend(types.model_to_proto(model) for model in answer)
        if len(response.unreachable) == len(sources):
            raise UnavailableError(Reason.BACKEND_UNAVAILABLE, "no backend answers", retry_after_seconds=2.0)
        return response

    async def ListMetrics(self, request: pb.ListMetricsRequest, context: Any) -> pb.ListMetricsResponse:
        """Lists metrics, which of them are used when a request names none, and which are absent."""
        metrics = await self._scorer.list_metrics()
        defaults = self._profile.defaults
        return pb.ListMetricsResponse(
            metrics=[types.metric_to_proto(metric) for metric in metrics.offered.values()],
            default_metrics=[name for name in defaults.metrics if name in metrics.offered],
            default_selection_metrics=[name for name in defaults.selection_metrics if name in metrics.offered],
            absent=[score_pb2.AbsentMetric(id=id_, reason=reason) for id_, reason in metrics.absent.items()],
        )

    async def ListStrategies(self, request: pb.ListStrategiesRequest, context: Any) -> pb.ListStrategiesResponse:
        """Lists strategies, the default first."""
        default = self._profile.defaults.strategy
        strategies = sorted(await self._refiner.list_strategies(), key=lambda strategy: strategy.id != default)
        return pb.ListStrategiesResponse(strategies=[converters.strategy_to_proto(one) for one in strategies])

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:
        """State of the gateway and of everything it needs."""
        response = pb.GetStatusResponse(
            health=_HEALTH_TO_PROTO[self._monitor.overall()],
            components=[
                pb.ComponentStatus(component=one.component, health=_HEALTH_TO_PROTO[one.health], detail=one.detail)
                for one in self._monitor.components()
            ],
            version=self._version,
            profile=self._profile.name,
        )
        response.server_time.GetCurrentTime()
        return response
