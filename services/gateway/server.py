"""A gateway server: stores, loops, sessions and profiles on one database. app.py adds the rest and runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import grpc
from grpc_reflection.v1alpha import reflection

from likeness.gateway.v1 import (
    profile_service_pb2,
    profile_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from services.common.errors import Reason, UnavailableError
from services.common.profile import Profile
from services.common.settings import MAX_MESSAGE_BYTES, Settings
from services.common.telemetry import get_logger
from services.gateway.generation import ImageGeneration
from services.gateway.loops.machine import Tools
from services.gateway.loops.retry import RetryPolicy, retried
from services.gateway.loops.runner import LoopRunner
from services.gateway.ports import GeneratorPort, ObjectStore, ProfileHeads, RefinerPort, ScorerPort
from services.gateway.profiles.heads import ActiveHeads
from services.gateway.profiles.learning import Differences, Learner
from services.gateway.profiles.pictures import Pictures
from services.gateway.profiles.service import ProfileService
from services.gateway.rpc.interceptors import CallInterceptor
from services.gateway.rpc.profile_servicer import ProfileServicer
from services.gateway.rpc.session_servicer import SessionServicer
from services.gateway.scorable import Scoring
from services.gateway.sessions.feed import Feed
from services.gateway.sessions.service import Catalog, SessionService
from services.gateway.sessions.watching import Watcher
from services.gateway.store.database import Database
from services.gateway.store.images import ImageRepository
from services.gateway.store.leases import LeaseRepository
from services.gateway.store.migrate import migrate
from services.gateway.store.notifications import CANCEL_CHANNEL, EVENTS_CHANNEL, PROFILES_CHANNEL, Notifications
from services.gateway.store.profiles import ProfileRepository
from services.gateway.store.requests import RequestRepository
from services.gateway.store.runs import RunRepository
from services.gateway.store.sessions import SessionRepository

GRACE_SECONDS = 5.0
"""How long calls that are being answered may take after SIGTERM."""

SERVER_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Without this a second gateway on the port would silently get half of the calls.
    ("grpc.so_reuseport", 0),
)

_START_RETRY = RetryPolicy(attempts=20, first_wait_seconds=0.2, max_wait_seconds=2.0, database=True)

log = get_logger(__name__)


@dataclass(frozen=True)
class Outside:
    """What the gateway needs from other processes."""

    generator: GeneratorPort
    refiner: RefinerPort
    scorer: ScorerPort
    differences: Differences
    scoring: Callable[[ProfileHeads], Scoring]
    """Makes the scoring, which needs the heads that the gateway stores."""
    objects: ObjectStore


class GatewayServer:
    """A gateway on one database. `start`, then `wait`; `stop` drains."""

    def __init__(
        self, settings: Settings, profile: Profile, outside: Outside, *, retry: RetryPolicy | None = None
    ) -> None:
        if settings.database_url is None:
            message = "LIKENESS_DATABASE_URL is not set; 'likeness up' starts a database and sets it"
            raise UnavailableError(Reason.DATABASE_UNAVAILABLE, message)
        self._settings = settings
        self._database_url = settings.database_url
        self.database = Database(settings.database_url)
        self.images = ImageRepository(self.database, outside.objects)
        requests = RequestRepository(self.database, settings.request_id_ttl_seconds)
        sessions = SessionRepository(self.database, self.images, requests)
        profiles = ProfileRepository(self.database, self.images, requests)
        self._heads = ActiveHeads(profiles)
        self.scoring = outside.scoring(self._heads)
        retry = retry or RetryPolicy()
        timeout = settings.request_timeout_seconds
        self.generation = ImageGeneration(
            outside.generator, self.images, outside.objects, retry=retry, timeout_seconds=timeout
        )
        tools = Tools(
            generator=outside.generator,
            refiner=outside.refiner,
            scoring=self.scoring,
            objects=outside.objects,
            retry=retry,
            generation_timeout_seconds=timeout,
        )
        self._feed = Feed()
        self.runner = LoopRunner(
            RunRepository(self.database, self.images, requests),
            LeaseRepository(self.database),
            self.images,
            requests,
            tools,
            self._feed,
            max_running=settings.max_running_sessions,
        )
        self._notifications = Notifications(self.database)
        catalog = Catalog(outside.generator, outside.refiner, self.scoring, profile)
        watcher = Watcher(sessions, self._feed)
        self.sessions = SessionService(sessions, self.images, requests, self.runner, watcher, catalog)
        pictures = Pictures(self.images, outside.objects)
        learner = Learner(outside.scorer, outside.differences, pictures)
        self.profiles = ProfileService(profiles, requests, self._heads, outside.scorer, learner, pictures)
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self, *add_services: Callable[[grpc.aio.Server], str]) -> None:
        """Migrates the database, takes up stored loops and serves.

        Args:
            add_services: Each adds a servicer to the server and returns the service's full name.

        Raises:
            UnavailableError: the port is taken, or the database does not answer.
        """
        # PostgreSQL may still be starting, or recovering from a crash.
        await retried(_START_RETRY, self.database.check)
        await migrate(self._database_url)
        self._notifications.on(EVENTS_CHANNEL, self._feed.wake)
        self._notifications.on(CANCEL_CHANNEL, self.runner.cancel_here)
        self._notifications.on(PROFILES_CHANNEL, self._heads.forget)
        self._notifications.start()
        self.runner.start()
        server = grpc.aio.server(interceptors=(CallInterceptor(),), options=SERVER_OPTIONS)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(SessionServicer(self.sessions), server)
        profile_service_pb2_grpc.add_ProfileServiceServicer_to_server(ProfileServicer(self.profiles), server)
        names = [
            session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
            profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"].full_name,
        ]
        names += [add(server) for add in add_services]
        if self._settings.reflection:
            reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        address = f"{self._settings.gateway_host}:{self._settings.gateway_port}"
        try:
            self.port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise UnavailableError(Reason.BACKEND_UNAVAILABLE, f"cannot listen on {address}") from error
        self._server = server
        await server.start()
        log.info("gateway_started", port=self.port)

    async def stop(self) -> None:
        """Drains: no new calls, watchers are told to reconnect, loops stay stored for the next gateway."""
        self._feed.close()
        if self._server is not None:
            await self._server.stop(GRACE_SECONDS)
        await self.runner.close()
        await self._notifications.close()
        await self.database.close()
        log.info("gateway_stopped")
