"""The catalogue of the gateway contract: what the deployment offers and how it is."""

from __future__ import annotations

from likeness.gateway.v1 import catalog_service_pb2, catalog_service_pb2_grpc
from likeness.types.v1 import model_pb2, score_pb2
from tests.likeness.gateway import story
from tests.likeness.gateway.faults import fail
from tests.likeness.gateway.world import World


class CatalogServicer(catalog_service_pb2_grpc.CatalogServiceServicer):
    """A fixed catalogue."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.health = catalog_service_pb2.HEALTH_SERVING

    async def ListModels(self, request, context):
        limits = model_pb2.GenerationLimits(
            default_steps=20, max_steps=100, default_guidance_scale=3.0, width_pixels=64, height_pixels=64,
            size_multiple_pixels=16, max_side_pixels=128, schedulers=["DPMSolverMultistepScheduler"], token_limit=77,
            takes_initial_image=True, takes_negative_prompt=True,
        )  # fmt: skip
        adapters = [
            model_pb2.Adapter(id="ink", revision="ab12", license="MIT"),
            model_pb2.Adapter(id="oil", absent_reason="its file is not there"),
        ]
        models = [
            model_pb2.Model(
                id="generator-embedded", revision="5f1d2c90", role=model_pb2.MODEL_ROLE_GENERATOR, embedded=True,
                source="generator-embedded", license="Apache-2.0", generation_limits=limits,
                adapters=adapters, load_state=model_pb2.LOAD_STATE_NOT_LOADED, size_bytes=3 * 2**20,
            ),
            model_pb2.Model(id="clip-embedded", revision="9c1e", role=model_pb2.MODEL_ROLE_EMBEDDER, embedded=True),
        ]  # fmt: skip
        return catalog_service_pb2.ListModelsResponse(models=models, unreachable=["refiner"])

    async def ListMetrics(self, request, context):
        described = [
            score_pb2.Metric(
                id=score.metric, revision=score.revision, description=f"How alike by {score.metric}.",
                input=score_pb2.METRIC_INPUT_IMAGE_IMAGE, direction=score.direction, embedded=True,
            )
            for score in story.scores(0.5)
        ]  # fmt: skip
        return catalog_service_pb2.ListMetricsResponse(
            metrics=described, default_metrics=["clip-embedded", "phash"], default_selection_metrics=["clip-embedded"],
            absent=[score_pb2.AbsentMetric(id="lpips-squeeze", reason="no weights were found")],
        )  # fmt: skip

    async def ListStrategies(self, request, context):
        info = catalog_service_pb2.StrategyInfo(id="repainter", revision="1", description="Describes.", embedded=True)
        return catalog_service_pb2.ListStrategiesResponse(strategies=[info])

    async def GetStatus(self, request, context):
        fault = self._world.faults.next("GetStatus", context)
        if fault:
            await fail(context, fault)
        names = ("generator", "scorer", "refiner", "database", "cache", "object_store")
        parts = [catalog_service_pb2.ComponentStatus(component=n, health=self.health, detail="ready") for n in names]
        return catalog_service_pb2.GetStatusResponse(
            health=self.health, components=parts, version="0.1.0", profile="embedded"
        )
