"""How the gateway and everything it needs is: one monitor for grpc.health.v1, /healthz and GetStatus.

A part that does not answer makes the services that need it NOT_SERVING. The cache is no such part: without it answers
come slower, which is DEGRADED, and a load balancer goes on sending requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from services.common import telemetry
from services.common.errors import DeadlineError, LikenessError, OverloadedError

INTERVAL_SECONDS = 5.0
INTERVAL_WHILE_DOWN_SECONDS = 0.5
CHECK_TIMEOUT_SECONDS = 6.0
SLOW_CHECKS_ALLOWED = 3
"""A part that is only slow (a busy machine) counts as down after this many checks in a row."""

CACHE = "cache"
BACKENDS = ("generator", "scorer", "refiner")
NEEDED = (*BACKENDS, "database", "object_store")
SERVICE_NEEDS: Mapping[str, tuple[str, ...]] = {
    "": NEEDED,
    "likeness.gateway.v1.SessionService": NEEDED,
    "likeness.gateway.v1.ProfileService": ("scorer", "database", "object_store"),
    "likeness.gateway.v1.ImageService": ("database", "object_store"),
    "likeness.gateway.v1.EvaluationService": ("scorer", "database", "object_store"),
    "likeness.gateway.v1.RaceService": NEEDED,
    "likeness.gateway.v1.CatalogService": (),
    "likeness.gateway.v1.AdminService": ("database",),
    "likeness.generator.v1.GeneratorService": ("generator",),
    "likeness.scorer.v1.ScorerService": ("scorer",),
    "likeness.refiner.v1.RefinerService": ("refiner",),
}
"""What each service that can be asked for by name needs; "" is the whole server."""

Check = Callable[[], Awaitable[None]]

log = telemetry.get_logger(__name__)
_up = telemetry.gauge("likeness_gateway_component_up", "1 if the part answers.", ("component",), mode="livemin")


class Health(StrEnum):
    """How a part is."""

    SERVING = "serving"
    DEGRADED = "degraded"
    NOT_SERVING = "not_serving"


@dataclass(frozen=True)
class ComponentHealth:
    """State of one part; `detail` is a sentence for people."""

    component: str
    health: Health
    detail: str = ""


@dataclass
class _Probe:
    name: str
    check: Check
    state: ComponentHealth
    slow_checks: int = 0


class HealthMonitor:
    """Checks every part all the time and keeps grpc.health.v1 up to date.

    Args:
        checks: By part ("generator", "scorer", "refiner", "database", "cache", "object_store"): a coroutine function
            that raises LikenessError while the part does not answer.
        interval_seconds: Time between checks of a part that answers.
    """

    def __init__(self, checks: Mapping[str, Check], *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.servicer = health_aio.HealthServicer()
        self._interval_seconds = interval_seconds
        self._draining = False
        self._tasks: list[asyncio.Task[None]] = []
        self._probes = {
            name: _Probe(name, check, ComponentHealth(name, Health.NOT_SERVING, "not checked yet"))
            for name, check in checks.items()
        }

    async def start(self) -> None:
        """Begins to check; every service is NOT_SERVING until its parts have answered."""
        await self._publish()
        self._tasks = [asyncio.create_task(self._watch(probe)) for probe in self._probes.values()]

    async def drain(self) -> None:
        """NOT_SERVING from now on, so that load balancers send no new requests."""
        self._draining = True
        await self.servicer.enter_graceful_shutdown()

    async def stop(self) -> None:
        """Ends the checks."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    def components(self) -> list[ComponentHealth]:
        """State of every part, in a fixed order."""
        return [probe.state for probe in self._probes.values()]

    def overall(self) -> Health:
        """Worst state of the parts that requests need; DEGRADED if only the cache is down."""
        if self._draining or not self._serves(""):
            return Health.NOT_SERVING
        cache = self._probes.get(CACHE)
        return Health.SERVING if cache is None or cache.state.health is Health.SERVING else Health.DEGRADED

    async def check_now(self) -> None:
        """Checks every part once, for callers that cannot wait for the next round."""
        await asyncio.gather(*(self._check(probe) for probe in self._probes.values()))

    async def _watch(self, probe: _Probe) -> None:
        while True:
            await self._check(probe)
            serving = probe.state.health is Health.SERVING
            await asyncio.sleep(self._interval_seconds if serving else INTERVAL_WHILE_DOWN_SECONDS)

    async def _check(self, probe: _Probe) -> None:
        before = probe.state.health
        probe.state = await self._state(probe)
        _up.labels(probe.name).set(probe.state.health is Health.SERVING)
        if probe.state.health is not before:
            log.info("component_health", component=probe.name, health=probe.state.health, detail=probe.state.detail)
            await self._publish()

    async def _state(self, probe: _Probe) -> ComponentHealth:
        down = Health.DEGRADED if probe.name == CACHE else Health.NOT_SERVING
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await probe.check()
        except OverloadedError:
            return ComponentHealth(probe.name, Health.SERVING, "busy: its queue is full")
        except (TimeoutError, DeadlineError):
            probe.slow_checks += 1
            if probe.state.health is Health.SERVING and probe.slow_checks < SLOW_CHECKS_ALLOWED:
                return ComponentHealth(probe.name, Health.SERVING, "slow to answer")
            return ComponentHealth(probe.name, down, "does not answer in time")
        except LikenessError as error:
            return ComponentHealth(probe.name, down, error.message)
        except Exception:  # a check must never end the monitor
            log.exception("health_check_failed", component=probe.name)
            return ComponentHealth(probe.name, down, "its check failed; see the gateway's log")
        probe.slow_checks = 0
        return ComponentHealth(probe.name, Health.SERVING)

    def _serves(self, service: str) -> bool:
        probes = (self._probes.get(name) for name in SERVICE_NEEDS[service])
        return all(probe is None or probe.state.health is Health.SERVING for probe in probes)

    async def _publish(self) -> None:
        if self._draining:
            return
        statuses = health_pb2.HealthCheckResponse
        for service in SERVICE_NEEDS:
            await self.servicer.set(service, statuses.SERVING if self._serves(service) else statuses.NOT_SERVING)
