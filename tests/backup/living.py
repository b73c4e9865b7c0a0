"""A deployment with something of everything in it, what clients see of it, and its end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from likeness.gateway.v1 import evaluation_service_pb2, image_service_pb2, profile_service_pb2, race_service_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from services.gateway.access.caller import Scope
from services.gateway.objects import LocalObjectStore
from tests.gateway.access.keys import Keys
from tests.gateway.conftest import Gateway, Parts
from tests.gateway.evaluations.streaming import evaluate, item
from tests.gateway.profiles import asking
from tests.gateway.races import racing


@dataclass
class Life:
    """What was made, by what clients ask for it with."""

    sessions: list[str] = field(default_factory=list)
    evaluation: str = ""
    race: str = ""
    key: tuple[tuple[str, str], ...] = ()
    """Metadata with an API key."""


def parts_on(objects: Path) -> Parts:
    """Doubles of the backends, and a real object store."""
    parts = Parts(objects=LocalObjectStore(objects))  # type: ignore[arg-type]
    parts.scorer.has_lpips = True
    return parts


async def live(gateway: Gateway) -> Life:
    """Sessions with a loop and a person's ranking, a personal metric that learned from it, an evaluation, a race."""
    made = Life()
    ranked = await asking.ranked_session(gateway, ["r2c1", "r1c1", "r3c1"])
    looped = await gateway.create()
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=looped))
    await gateway.finished(looped)
    made.sessions = [f"sessions/{ranked}", looped]
    await asking.create(gateway)
    await asking.fit(gateway, session_ids=[ranked])
    made.evaluation = (await evaluate(gateway, [item(number) for number in range(5)])).name
    race = await racing.create(gateway, targets=1)
    made.race = race.name
    await racing.finished(gateway, race.name)
    made.key = await Keys(gateway.server).make("default", Scope.RUN)
    return made


async def seen(gateway: Gateway, made: Life) -> dict[str, Any]:
    """Everything that a client can read of it, pictures included."""
    found: dict[str, Any] = {}
    for name in made.sessions:
        found[name] = await gateway.stub.GetSession(pb.GetSessionRequest(name=name), metadata=made.key)
        found[f"{name} events"] = await gateway.events(name)
    found["profile"] = await asking.get(gateway)
    versions = profile_service_pb2.ListProfileVersionsRequest(profile_id="ann")
    found["heads"] = await gateway.profiles.ListProfileVersions(versions)
    score = image_service_pb2.ScoreImagesRequest(
        target=asking.image("rgb 9 9 9"), candidates=[asking.image("rgb 99 9 9")], metrics=["clpips:ann"]
    )
    found["personal score"] = await gateway.images.ScoreImages(score)
    evaluation = evaluation_service_pb2.GetEvaluationRequest(name=made.evaluation)
    found["evaluation"] = await gateway.evaluations.GetEvaluation(evaluation)
    report = evaluation_service_pb2.GetEvaluationReportRequest(name=made.evaluation)
    found["report"] = await gateway.evaluations.GetEvaluationReport(report)
    found["race"] = await gateway.races.GetRace(race_service_pb2.GetRaceRequest(name=made.race))
    for content_hash in sorted(_hashes(found)):
        request = image_service_pb2.GetImageRequest(content_hash=content_hash)
        found[content_hash] = await gateway.images.GetImage(request)
    return found


async def destroyed(database_url: str, objects: Path) -> None:
    """The end: no table and no picture is left."""
    engine = create_async_engine(database_url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    shutil.rmtree(objects, ignore_errors=True)


def _hashes(found: dict[str, Any]) -> set[str]:
    """Content hashes in any message."""
    return {one for value in found.values() if isinstance(value, Message) for one in _of(value)}


def _of(message: Message) -> set[str]:
    hashes: set[str] = set()
    for descriptor, value in message.ListFields():
        if descriptor.name == "content_hash":
            hashes.add(value)
        elif descriptor.message_type is not None and not descriptor.message_type.GetOptions().map_entry:
            for one in value if descriptor.is_repeated else [value]:
                hashes |= _of(one)
    return hashes
