"""The gateway process: `python -m services.gateway.app`. Serves until SIGTERM or SIGINT, then drains in under 30 s."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

import likeness
from likeness.gateway.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    image_service_pb2,
    image_service_pb2_grpc,
)
from services.common import tracing
from services.common.errors import InvalidInputError, LikenessError
from services.common.profile import load_profile
from services.common.settings import Settings
from services.common.telemetry import configure_logging, get_logger
from services.gateway import decoding
from services.gateway.backends.clients import GeneratorClient, RefinerClient, ScorerClient
from services.gateway.cache import VectorCache
from services.gateway.health import HealthMonitor
from services.gateway.http import start_http
from services.gateway.objects import open_object_store
from services.gateway.personal import CachedDifferences
from services.gateway.rpc.catalog_servicer import CatalogServicer
from services.gateway.rpc.image_servicer import ImageServicer
from services.gateway.scoring import CachedScoring
from services.gateway.server import GatewayServer, Outside

NOTICE_SECONDS = 1.0
"""How long after SIGTERM clients with an open connection are told to go elsewhere, before it is closed."""
GRACE_SECONDS = 20.0
"""How long calls that are being answered may take from then on: the process ends in under 30 s."""

log = get_logger(__name__)


async def serve(settings: Settings, stop: asyncio.Event, ready: Callable[[int, int], None]) -> None:
    """Runs a gateway until `stop` is set, then drains it.

    Args:
        settings: Settings with the addresses of stores and backends.
        stop: Set it to end.
        ready: Called once with the ports of gRPC and HTTP.

    Raises:
        LikenessError: a setting is missing or wrong, the database does not answer, or a port is taken.
    """
    if settings.redis_url is None:
        raise InvalidInputError("LIKENESS_REDIS_URL", "is not set", allowed="redis://host:port; 'likeness up' sets it")
    profile = load_profile(settings.profile)
    timeout = settings.request_timeout_seconds
    async with AsyncExitStack() as stack:
        stack.callback(decoding.close)
        await decoding.start()
        generator = GeneratorClient(settings.generator_address, timeout_seconds=timeout)
        stack.push_async_callback(generator.close)
        scorer = ScorerClient(settings.scorer_address, timeout_seconds=timeout)
        stack.push_async_callback(scorer.close)
        refiner = RefinerClient(settings.refiner_address, timeout_seconds=timeout)
        stack.push_async_callback(refiner.close)
        cache = VectorCache(settings.redis_url, ttl_seconds=settings.embedding_ttl_seconds)
        stack.push_async_callback(cache.close)
        objects = open_object_store(settings.object_store_url or (settings.home / "objects").absolute().as_uri())
        outside = Outside(
            generator=generator,
            refiner=refiner,
            scorer=scorer,
            differences=CachedDifferences(scorer, cache),
            scoring=lambda heads: CachedScoring(scorer, cache, heads),
            objects=objects,
            scores=cache,
        )
        gateway = GatewayServer(settings, profile, outside)
        monitor = HealthMonitor(
            {
                "generator": generator.check,
                "scorer": scorer.check,
                "refiner": refiner.check,
                "database": gateway.database.check,
                "cache": cache.check,
                "object_store": objects.check,
            }
        )
        images = ImageServicer(objects, gateway.images, gateway.scoring, profile, gateway.generation)
        catalog = CatalogServicer(
            generator=generator,
            scorer=scorer,
            refiner=refiner,
            monitor=monitor,
            profile=profile,
            version=likeness.__version__,
        )
        # Last in, first out: the gateway drains while the backends can still be called.
        stack.push_async_callback(gateway.stop)
        stack.push_async_callback(monitor.stop)
        # Before the port is open: until the parts were checked, the gateway is not ready.
        await monitor.start()
        await gateway.start(
            lambda server: _add_images(images, server),
            lambda server: _add_catalog(catalog, server),
            lambda server: _add_health(monitor, server),
        )
        http = await start_http(settings.http_port, monitor, host=settings.gateway_host)
        stack.push_async_callback(http.close)
        ready(gateway.port, http.port)
        await stop.wait()
        log.info("draining")
        await monitor.drain()
        # Health and metrics are answered until everything is handed over.
        await gateway.drain(notice_seconds=NOTICE_SECONDS, grace_seconds=GRACE_SECONDS)


def main() -> int:
    """Entry point; returns the exit status."""
    settings = Settings()
    configure_logging("gateway", settings.log_level)
    try:
        tracing.start("gateway", settings.otlp_endpoint)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings))
    except LikenessError as error:
        log.error("gateway_not_started", reason=error.reason.value, problem=error.message)
        return 1
    finally:
        tracing.stop()
    return 0


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, stop, lambda grpc_port, http_port: log.info("ready", port=grpc_port, http_port=http_port))


def _add_images(servicer: ImageServicer, server: grpc.aio.Server) -> str:
    image_service_pb2_grpc.add_ImageServiceServicer_to_server(servicer, server)
    return image_service_pb2.DESCRIPTOR.services_by_name["ImageService"].full_name


def _add_catalog(servicer: CatalogServicer, server: grpc.aio.Server) -> str:
    catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(servicer, server)
    return catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name


def _add_health(monitor: HealthMonitor, server: grpc.aio.Server) -> str:
    health_pb2_grpc.add_HealthServicer_to_server(monitor.servicer, server)
    return health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


if __name__ == "__main__":
    sys.exit(main())
