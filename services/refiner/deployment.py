"""The refiner as a Ray Serve application. The only file of the refiner that knows Ray."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.grpc_util import RayServegRPCContext

from likeness.refiner.v1 import refiner_service_pb2 as pb
from services.common import tracing
from services.common.backend_rpcs import answered
from services.common.profile import Profile, load_profile
from services.common.settings import Settings
from services.common.telemetry import configure_logging, serve_metrics_if_asked

MAX_ONGOING_REQUESTS = 16
"""Calls a replica takes; captions are made one after the other, calls of a language model wait side by side."""
MAX_QUEUED_REQUESTS = 64
"""Calls that wait at a proxy for a replica before RESOURCE_EXHAUSTED."""
_CPUS = 0.2

_SERVICE = pb.DESCRIPTOR.services_by_name["RefinerService"].full_name


@serve.deployment(
    name="refiner",
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    ray_actor_options={"num_cpus": _CPUS},
)
class RefinerDeployment:
    """One replica: the strategies of the profile and their models."""

    def __init__(self, settings: Settings, profile: Profile) -> None:
        # torch and the models are loaded here, in the replica, and not where the application is put together.
        from services.refiner.service import RefinerService
        from services.refiner.servicer import Handlers
        from services.refiner.strategies.registry import build_registry

        configure_logging("refiner", settings.log_level)
        tracing.start("refiner", settings.otlp_endpoint)
        serve_metrics_if_asked()
        self._handlers = Handlers(RefinerService(build_registry(settings, profile)))

    async def Understand(
        self, request: pb.UnderstandRequest, grpc_context: RayServegRPCContext
    ) -> pb.UnderstandResponse:
        """likeness.refiner.v1.RefinerService.Understand."""
        return await answered(f"{_SERVICE}/Understand", self._handlers.understand(request), grpc_context)

    async def Propose(self, request: pb.ProposeRequest, grpc_context: RayServegRPCContext) -> pb.ProposeResponse:
        """likeness.refiner.v1.RefinerService.Propose."""
        return await answered(f"{_SERVICE}/Propose", self._handlers.propose(request), grpc_context)

    async def Critique(self, request: pb.CritiqueRequest, grpc_context: RayServegRPCContext) -> pb.CritiqueResponse:
        """likeness.refiner.v1.RefinerService.Critique."""
        return await answered(f"{_SERVICE}/Critique", self._handlers.critique(request), grpc_context)

    async def Revise(self, request: pb.ReviseRequest, grpc_context: RayServegRPCContext) -> pb.ReviseResponse:
        """likeness.refiner.v1.RefinerService.Revise."""
        return await answered(f"{_SERVICE}/Revise", self._handlers.revise(request), grpc_context)

    async def ListStrategies(
        self, request: pb.ListStrategiesRequest, grpc_context: RayServegRPCContext
    ) -> pb.ListStrategiesResponse:
        """likeness.refiner.v1.RefinerService.ListStrategies."""
        return await answered(f"{_SERVICE}/ListStrategies", self._handlers.list_strategies(), grpc_context)


def build(settings: Settings, profile: Profile) -> serve.Application:
    """The application for these settings and models."""
    deployment: Any = RefinerDeployment
    options = settings.replica_options("refiner")
    application: serve.Application = deployment.options(**options).bind(settings, profile)
    return application


def app(args: dict[str, Any]) -> serve.Application:
    """Builder for Serve configuration files (`import_path: services.refiner.deployment:app`).

    Args:
        args: Settings that override the environment, by field name.
    """
    settings = Settings(**args)
    return build(settings, load_profile(settings.profile))
