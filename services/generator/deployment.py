"""The generator as a Ray Serve application. The only file of the generator that knows Ray."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from likeness.generator.v1 import generator_service_pb2 as pb
from services.common import telemetry, tracing
from services.common.profile import Profile, load_profile, resolve_source
from services.common.settings import Settings

if TYPE_CHECKING:
    from ray.serve.grpc_util import RayServegRPCContext

MAX_ONGOING_REQUESTS = 64
"""Calls a replica takes; their items share its engine's bounded queue."""
MAX_QUEUED_REQUESTS = 128
"""Calls that wait at a proxy for a replica before RESOURCE_EXHAUSTED."""
REPLICA_CPUS = 0.3
REPLICA_GPUS = 0.5
"""Share of a GPU where the cluster has one; Serve configurations of real clusters override it."""


@serve.deployment(name="generator", max_ongoing_requests=MAX_ONGOING_REQUESTS, max_queued_requests=MAX_QUEUED_REQUESTS)
class GeneratorDeployment:
    """One replica: loads the profile's models, then owns one engine."""

    def __init__(self, settings: Settings, profile: Profile) -> None:
        # torch is loaded here, in the replica, and not where the application is put together.
        from services.generator.service import GeneratorService
        from services.generator.servicer import GeneratorServicer

        telemetry.configure_logging("generator", settings.log_level)
        tracing.start("generator", settings.otlp_endpoint)
        telemetry.serve_metrics_if_asked()
        self._service = GeneratorService.start(settings, profile)
        # A replica without any model is no use: the error says what is missing and ends up in Serve's status.
        self._service.list_models()
        self._servicer = GeneratorServicer(self._service)

    async def Generate(
        self, request: pb.GenerateRequest, grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[pb.GenerateResponse, None]:
        """See the contract."""
        async with aclosing(self._servicer.Generate(request, grpc_context)) as answers:
            async for answer in answers:
                yield answer

    async def ListModels(
        self, request: pb.ListModelsRequest, grpc_context: RayServegRPCContext
    ) -> pb.ListModelsResponse:
        """See the contract."""
        return await self._servicer.ListModels(request, grpc_context)

    def check_health(self) -> None:
        """Raises when the replica must be replaced."""
        self._service.check()

    def __del__(self) -> None:
        # Serve calls it when it stops a replica, also one whose constructor failed.
        if hasattr(self, "_service"):
            self._service.close()


def build(settings: Settings, profile: Profile) -> serve.Application:
    """The application for these settings and models.

    Raises:
        UnavailableError: MODEL_UNAVAILABLE; an embedded default model is missing, known before any replica starts.
    """
    default = profile.generators[0]
    resolve_source(settings, default.source, embedded=default.embedded)
    resources = {"num_cpus": REPLICA_CPUS}
    if settings.device.startswith("cuda") or (settings.device == "auto" and _cluster_has_gpu()):
        resources["num_gpus"] = REPLICA_GPUS
    deployment: Any = GeneratorDeployment
    options = settings.replica_options("generator")
    application: serve.Application = deployment.options(ray_actor_options=resources, **options).bind(settings, profile)
    return application


def app(args: dict[str, Any]) -> serve.Application:
    """Builder for Serve configuration files (`import_path: services.generator.deployment:app`).

    Args:
        args: Settings that override the environment, by field name.
    """
    settings = Settings(**args)
    return build(settings, load_profile(settings.profile))


def _cluster_has_gpu() -> bool:
    resources: dict[str, float] = ray.cluster_resources() if ray.is_initialized() else {}  # type: ignore[no-untyped-call]
    return resources.get("GPU", 0) > 0
