"""A gateway server: stores, loops, sessions and profiles on one database. app.py adds the rest and runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import grpc
from grpc_reflection.v1alpha import reflection

from likeness.gateway.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    evaluation_service_pb2,
    evaluation_service_pb2_grpc,
    profile_service_pb2,
    profile_service_pb2_grpc,
    race_service_pb2,
    race_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from services.common.errors import Reason, UnavailableError
from services.common.profile import Profile
from services.common.settings import MAX_MESSAGE_BYTES, Settings
from services.common.telemetry import get_logger
from services.gateway.access.access import Access
from services.gateway.evaluations.assembly import Evaluations
from services.gateway.evaluations.pairs import ScoreCache
from services.gateway.generation import ImageGeneration
from services.gateway.housekeeping import Chore, Housekeeping
from services.gateway.listening import listen, requires_keys
from services.gateway.loops.retry import RetryPolicy, retried
from services.gateway.loops.runner import LoopRunner
from services.gateway.loops.work import Tools
from services.gateway.ports import GeneratorPort, ObjectStore, ProfileHeads, RefinerPort, ScorerPort
from services.gateway.profiles.heads import ActiveHeads
from services.gateway.profiles.learning import Differences, Learner
from services.gateway.profiles.pictures import Pictures
from services.gateway.profiles.service import ProfileService
from services.gateway.prompt_log import LoggedGenerator
from services.gateway.races.service import RaceService
from services.gateway.rpc.admin_servicer import AdminServicer
from services.gateway.rpc.doorkeeper import Doorkeeper
from services.gateway.rpc.evaluation_servicer import EvaluationServicer
from services.gateway.rpc.interceptors import CallInterceptor
from services.gateway.rpc.profile_servicer import ProfileServicer
from services.gateway.rpc.race_servicer import RaceServicer
from services.gateway.rpc.session_servicer import SessionServicer
from services.gateway.scorable import Scoring
from services.gateway.sessions.feed import Feed
from services.gateway.sessions.service import Catalog, SessionService
from services.gateway.sessions.watching import Watcher
from services.gateway.store.database import IDLE_TRANSACTION_SECONDS, Database
from services.gateway.store.images import ImageRepository
from services.gateway.store.interventions import InterventionRepository
from services.gateway.store.leases import LeaseRepository
from services.gateway.store.migrate import migrate
from services.gateway.store.notifications import (
    ACCESS_CHANNEL,
    EVENTS_CHANNEL,
    INTERRUPT_CHANNEL,
    LEASES_CHANNEL,
    PROFILES_CHANNEL,
    Notifications,
)
from services.gateway.store.profiles import ProfileRepository
from services.gateway.store.races import RaceRepository
from services.gateway.store.requests import RequestRepository
from services.gateway.store.retention import RetentionRepository
from services.gateway.store.runs import RunRepository
from services.gateway.store.sessions import SessionRepository
from services.gateway.ticking import Ticker

GRACE_SECONDS = 5.0
"""How long calls that are being answered may take when a gateway stops, unless it is told otherwise."""

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
    scores: ScoreCache


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
        self.access = Access(self.database, settings, require_keys=requires_keys(settings))
        self.images = ImageRepository(self.database, outside.objects)
        requests = RequestRepository(self.database, settings.request_id_ttl_seconds)
        sessions = SessionRepository(self.database, self.images, requests)
        profiles = ProfileRepository(self.database, self.images, requests)
        self._heads = ActiveHeads(profiles)
        self.scoring = outside.scoring(self._heads)
        retry = retry or RetryPolicy()
        timeout = settings.request_timeout_seconds
        generator = LoggedGenerator(outside.generator) if settings.log_prompts else outside.generator
        self.generation = ImageGeneration(
            generator,
            self.images,
            outside.objects,
            self.access.tenants,
            retry=retry,
            timeout_seconds=timeout,
        )
        tools = Tools(
            generator=generator,
            refiner=outside.refiner,
            scoring=self.scoring,
            objects=outside.objects,
            retry=retry,
            generation_timeout_seconds=timeout,
        )
        self._feed = Feed()
        self.runner = LoopRunner(
            RunRepository(self.database, self.images, requests, self.access.tenants),
            LeaseRepository(self.database),
            InterventionRepository(self.database, requests),
            tools,
            self._feed,
            max_running=settings.max_running_sessions,
        )
        retention = RetentionRepository(self.database, sessions, self.images)
        chores: dict[str, Chore] = {"requests": requests.purge, "images": self.images.sweep}
        if (days := settings.session_retention_days) is not None:
            chores["sessions"] = partial(retention.delete_finished, days)
        if (days := settings.event_retention_days) is not None:
            chores["events"] = partial(retention.compact_finished, days)
        self._notifications = Notifications(self.database)
        catalog = Catalog(outside.generator, outside.refiner, self.scoring, profile)
        watcher = Watcher(sessions, retention, self._feed)
        self.sessions = SessionService(sessions, self.images, requests, self.runner, watcher, catalog)
        pictures = Pictures(self.images, outside.objects)
        learner = Learner(outside.scorer, outside.differences, pictures)
        self.profiles = ProfileService(profiles, requests, self._heads, outside.scorer, learner, pictures)
        races = RaceRepository(self.database, self.images, requests)
        self.races = RaceService(races, self.images, requests, self.runner, self._feed, catalog)
        self.evaluations = Evaluations(
            self.database,
            self.images,
            requests,
            outside.objects,
            outside.generator,
            self.generation,
            self.scoring,
            outside.scores,
            profile.defaults,
            retry=retry,
        )
        chores["manifests"] = self.evaluations.manifests.sweep
        self.housekeeping = Housekeeping(self.database, chores)
        self._thawing = Ticker("frozen-transactions", self.database.end_frozen, seconds=IDLE_TRANSACTION_SECONDS / 4)
        self._doorkeeper = Doorkeeper(self.access.gate.admitted)
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self, *add_services: Callable[[grpc.aio.Server], str]) -> None:
        """Migrates the database, takes up stored loops and serves.

        Args:
            add_services: Each adds a servicer to the server and returns the service's full name.

        Raises:
            UnavailableError: the port is taken, or the database does not answer.
            InvalidInputError: a setting of TLS is missing or wrong, or plaintext would leave the machine.
        """
        # PostgreSQL may still be starting, or recovering from a crash.
        await retried(_START_RETRY, self.database.check)
        await migrate(self._database_url)
        self._notifications.on(EVENTS_CHANNEL, self._feed.wake)
        self._notifications.on(INTERRUPT_CHANNEL, self.runner.interrupt_here)
        self._notifications.on(LEASES_CHANNEL, self.runner.look_around)
        self._notifications.on(PROFILES_CHANNEL, self._heads.forget)
        self._notifications.on(ACCESS_CHANNEL, self.access.gate.forget)
        self.evaluations.start(self._notifications)
        self._notifications.start()
        self.runner.start()
        self.housekeeping.start()
        self._thawing.start()
        await self.access.start()
        server = grpc.aio.server(interceptors=(CallInterceptor(self._doorkeeper.admitted),), options=SERVER_OPTIONS)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(SessionServicer(self.sessions), server)
        profile_service_pb2_grpc.add_ProfileServiceServicer_to_server(ProfileServicer(self.profiles), server)
        race_service_pb2_grpc.add_RaceServiceServicer_to_server(RaceServicer(self.races), server)
        evaluation_service_pb2_grpc.add_EvaluationServiceServicer_to_server(
            EvaluationServicer(self.evaluations.streams, self.evaluations.service), server
        )
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(self.access.service), server)
        names = [
            admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
            evaluation_service_pb2.DESCRIPTOR.services_by_name["EvaluationService"].full_name,
            session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
            profile_service_pb2.DESCRIPTOR.services_by_name["ProfileService"].full_name,
            race_service_pb2.DESCRIPTOR.services_by_name["RaceService"].full_name,
        ]
        names += [add(server) for add in add_services]
        if self._settings.reflection:
            reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        self.port = listen(server, self._settings)
        self._server = server
        await server.start()
        log.info("gateway_started", port=self.port)

    async def drain(self, *, notice_seconds: float = 0.0, grace_seconds: float = GRACE_SECONDS) -> None:
        """Hands everything over: loops and watchers at once, then no new connections, then calls under way end.

        Args:
            notice_seconds: How long new calls are told to go elsewhere before connections are closed.
            grace_seconds: How long calls that are being answered may take from then on.
        """
        if self._doorkeeper.closed:
            return
        self._doorkeeper.closed = True
        self._feed.close()
        self.evaluations.drain()
        await self.runner.close()
        if self._server is not None:
            await asyncio.sleep(notice_seconds)
            await self._server.stop(grace_seconds)

    async def stop(self) -> None:
        """Drains, unless that is done, and closes every connection."""
        await self.drain()
        await self.evaluations.close()
        await self.housekeeping.close()
        await self._thawing.close()
        await self._notifications.close()
        await self.access.close()
        await self.database.close()
        log.info("gateway_stopped")
