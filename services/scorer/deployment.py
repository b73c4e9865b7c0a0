"""The scorer as a Ray Serve application. The only file of the scorer that knows Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray import serve

from likeness.scorer.v1 import scorer_service_pb2 as pb
from services.common import telemetry, tracing
from services.common.backend_rpcs import answered
from services.common.profile import load_profile
from services.common.settings import Settings

if TYPE_CHECKING:
    from ray.serve.grpc_util import RayServegRPCContext

MAX_ONGOING_REQUESTS = 8
MAX_QUEUED_REQUESTS = 64
REPLICA_CPUS = 0.2

_SERVICE = pb.DESCRIPTOR.services_by_name["ScorerService"].full_name


@serve.deployment(
    name="scorer",
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    ray_actor_options={"num_cpus": REPLICA_CPUS},
)
class ScorerDeployment:
    """One replica: loads the profile's metrics, then answers."""

    def __init__(self, settings: Settings) -> None:
        # torch and the models are loaded here, in the replica, and not where the application is put together.
        from services.scorer import compute, registry
        from services.scorer.service import Scorer
        from services.scorer.servicer import Handlers

        telemetry.configure_logging("scorer", settings.log_level)
        tracing.start("scorer", settings.otlp_endpoint)
        telemetry.serve_metrics_if_asked()
        compute.set_threads(settings)
        self._handlers = Handlers(Scorer(registry.build(settings, load_profile(settings.profile))))

    async def Embed(self, request: pb.EmbedRequest, grpc_context: RayServegRPCContext) -> pb.EmbedResponse:
        """See the contract."""
        return await answered(f"{_SERVICE}/Embed", self._handlers.embed(request), grpc_context)

    async def Score(self, request: pb.ScoreRequest, grpc_context: RayServegRPCContext) -> pb.ScoreResponse:
        """See the contract."""
        return await answered(f"{_SERVICE}/Score", self._handlers.score(request), grpc_context)

    async def Compare(self, request: pb.CompareRequest, grpc_context: RayServegRPCContext) -> pb.CompareResponse:
        """See the contract."""
        return await answered(f"{_SERVICE}/Compare", self._handlers.compare(request), grpc_context)

    async def GetHead(self, request: pb.GetHeadRequest, grpc_context: RayServegRPCContext) -> pb.GetHeadResponse:
        """See the contract."""
        return await answered(f"{_SERVICE}/GetHead", self._handlers.get_head(request), grpc_context)

    async def FitHead(self, request: pb.FitHeadRequest, grpc_context: RayServegRPCContext) -> pb.FitHeadResponse:
        """See the contract."""
        return await answered(f"{_SERVICE}/FitHead", self._handlers.fit_head(request), grpc_context)

    async def ListMetrics(
        self, request: pb.ListMetricsRequest, grpc_context: RayServegRPCContext
    ) -> pb.ListMetricsResponse:
        """See the contract."""
        return await answered(f"{_SERVICE}/ListMetrics", self._handlers.list_metrics(), grpc_context)


def build(settings: Settings) -> serve.Application:
    """The application for these settings; it serves the profile that they name."""
    deployment: Any = ScorerDeployment
    application: serve.Application = deployment.options(**settings.replica_options("scorer")).bind(settings)
    return application


def app(args: dict[str, Any]) -> serve.Application:
    """Builder for Serve's `import_path`; `args` are settings by name, over those of the environment."""
    return build(Settings(**args))
