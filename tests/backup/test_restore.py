"""Backup, end of everything, restore: clients find what they had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from likeness.gateway.v1 import session_pb2
from likeness.gateway.v1 import session_service_pb2 as pb
from reliability.invariants import audit
from services.backup.creating import create
from services.backup.manifest import Manifest
from services.backup.place import LocalPlace, Place
from services.backup.restoring import manifest_of, restore, verify
from services.common.errors import PreconditionError, Reason
from services.gateway.access.caller import Scope
from services.gateway.objects import LocalObjectStore
from services.gateway.store.migrate import SchemaState, downgrade, migrate, schema
from tests.backup.living import Life, destroyed, live, parts_on, seen
from tests.gateway.access.keys import Keys
from tests.gateway.conftest import Gateway, running
from tests.gateway.store.filling import fill, lost, snapshot

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

T = TypeVar("T")
EARLIER = "0003"
"""A revision of an earlier release."""


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """The deployment's pictures."""
    return tmp_path / "objects"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where backups go."""
    return LocalPlace(tmp_path / "place")


@pytest.fixture(autouse=True)
async def nothing(empty_database_url: str, objects: Path) -> None:
    """Nothing is left of the test before."""
    await destroyed(empty_database_url, objects)


async def test_everything_comes_back(empty_database_url: str, objects: Path, place: Place) -> None:
    async with running(empty_database_url, parts_on(objects)) as gateway:
        made = await live(gateway)
        before = await seen(gateway, made)
        # The gateway goes on working while it is backed up.
        written = await backed_up(empty_database_url, objects, place)
    rows = await run(empty_database_url, snapshot)
    assert {one.table: one.row_count for one in written.tables} == {name: len(found) for name, found in rows.items()}
    assert written.object_count == len(files(objects)) > 10 and not written.lost_objects

    await destroyed(empty_database_url, objects)
    assert await restored(empty_database_url, objects, place) == []

    assert await run(empty_database_url, snapshot) == rows
    async with running(empty_database_url, parts_on(objects), require_keys=True) as gateway:
        refused = gateway.stub.GetSession(pb.GetSessionRequest(name=made.sessions[0]))
        with pytest.raises(grpc.aio.AioRpcError, match=r"API key"):
            await refused
        assert await gateway.stub.GetSession(pb.GetSessionRequest(name=made.sessions[0]), metadata=made.key)
    async with running(empty_database_url, parts_on(objects)) as gateway:
        assert await seen(gateway, made) == before
        await goes_on(gateway, made)
    found = await audit(empty_database_url, objects)
    assert not found.broken and found.unknown_objects == 0


async def test_a_loop_that_was_under_way_goes_on(empty_database_url: str, objects: Path, place: Place) -> None:
    parts = parts_on(objects)
    parts.generator.hold_after_pictures = 1
    async with running(empty_database_url, parts) as gateway:
        name = await gateway.create()
        await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
        async for one in gateway.stub.WatchSession(pb.WatchSessionRequest(name=name)):
            if one.event.HasField("candidate_generated"):
                break
        # The watcher may hear of the picture before the loop knows that it is stored.
        while parts.generator.gate.is_set():
            await asyncio.sleep(0.005)
        await backed_up(empty_database_url, objects, place)
        before = await gateway.stub.GetSession(pb.GetSessionRequest(name=name))
    await destroyed(empty_database_url, objects)
    assert await restored(empty_database_url, objects, place) == []
    async with running(empty_database_url, parts_on(objects)) as gateway:
        done = await gateway.finished(name)
    assert done.session.state == session_pb2.Session.STATE_SUCCEEDED and len(done.rounds) == 3
    first = before.rounds[0].candidates[0]
    assert first.image.content_hash and done.rounds[0].candidates[0].image == first.image
    assert not (await audit(empty_database_url, objects)).broken


async def test_a_backup_of_an_earlier_release_comes_back_into_this_one(
    empty_database_url: str, objects: Path, place: Place
) -> None:
    await migrate(empty_database_url, EARLIER)
    await run(empty_database_url, fill)
    old = await run(empty_database_url, snapshot)
    # Their pictures are lost: what rows name there are no hashes at all.
    manifest = await backed_up(empty_database_url, objects, place)
    assert manifest.revision == EARLIER and len(manifest.lost_objects) == 2
    await destroyed(empty_database_url, objects)
    assert await restored(empty_database_url, objects, place) == list(manifest.lost_objects)
    assert (await schema(empty_database_url)).state is SchemaState.CURRENT
    assert lost(old, await run(empty_database_url, snapshot)) == {}
    await downgrade(empty_database_url, EARLIER)
    assert await run(empty_database_url, snapshot) == old


async def test_a_database_with_rows_is_given_up_only_by_name(
    empty_database_url: str, objects: Path, place: Place
) -> None:
    async with running(empty_database_url, parts_on(objects)) as gateway:
        await gateway.create()
        await backed_up(empty_database_url, objects, place)
        later = await gateway.create()
        with pytest.raises(PreconditionError) as caught:
            await restored(empty_database_url, objects, place, replace=name_of(empty_database_url))
        assert caught.value.reason is Reason.DATABASE_IN_USE
    for name in (None, "likeness", ""):
        with pytest.raises(PreconditionError, match=r"sessions.*--replace") as caught:
            await restored(empty_database_url, objects, place, replace=name)
        assert caught.value.reason is Reason.DATABASE_NOT_EMPTY
    async with running(empty_database_url, parts_on(objects)) as gateway:
        assert await gateway.stub.GetSession(pb.GetSessionRequest(name=later))
    # Tables of somebody else in the same database are none of our business.
    await run(empty_database_url, lambda to: to.execute(text("CREATE TABLE others AS SELECT 7 AS number")))
    await restored(empty_database_url, objects, place, replace=name_of(empty_database_url))
    assert await run(empty_database_url, lambda to: to.execute(text("SELECT number FROM others")).scalar()) == 7
    async with running(empty_database_url, parts_on(objects)) as gateway:
        assert await gateway.count("SELECT count(*) FROM sessions") == 1


async def test_a_database_that_a_gateway_has_only_prepared_counts_as_empty(
    empty_database_url: str, objects: Path, place: Place
) -> None:
    async with running(empty_database_url, parts_on(objects)) as gateway:
        await gateway.create()
    await backed_up(empty_database_url, objects, place)
    await destroyed(empty_database_url, objects)
    await migrate(empty_database_url)
    assert await restored(empty_database_url, objects, place) == []


async def test_a_restore_that_breaks_off_leaves_the_database_as_it_was(
    empty_database_url: str, objects: Path, place: Place, tmp_path: Path
) -> None:
    async with running(empty_database_url, parts_on(objects)) as gateway:
        await live(gateway)
    manifest = await backed_up(empty_database_url, objects, place)
    before = await run(empty_database_url, snapshot)

    def broken(step: str, _: int) -> None:
        if step == "events":
            raise InterruptedError

    name = name_of(empty_database_url)
    with pytest.raises(InterruptedError):
        await restore(empty_database_url, LocalObjectStore(objects), place, manifest, broken, replace=name)
    assert await run(empty_database_url, snapshot) == before
    # Nor is it touched by a backup that is not what was written.
    (tmp_path / "place/backups" / manifest.name / "tables/events.copy.gz").write_bytes(b"other")
    for attempt in (restored(empty_database_url, objects, place, replace=name), verify(place, manifest, quiet)):
        with pytest.raises(PreconditionError, match=r"tables/events\.copy\.gz") as caught:
            await attempt
        assert caught.value.reason is Reason.BACKUP_DAMAGED
    assert await run(empty_database_url, snapshot) == before


async def test_a_backup_of_a_newer_release_is_refused(empty_database_url: str, objects: Path, place: Place) -> None:
    await migrate(empty_database_url)
    await run(empty_database_url, fill)
    await backed_up(empty_database_url, objects, place)
    await run(empty_database_url, lambda to: to.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    for attempt in (
        backed_up(empty_database_url, objects, place),
        restored(empty_database_url, objects, place, replace=name_of(empty_database_url)),
    ):
        with pytest.raises(PreconditionError, match="9999") as caught:
            await attempt
        assert caught.value.reason is Reason.DATABASE_TOO_NEW


async def goes_on(gateway: Gateway, made: Life) -> None:
    """Work continues where it was: logs, versions and numbers go on after the last."""
    looped = made.sessions[1]
    last = (await gateway.events(looped))[-1].sequence
    await gateway.stub.StartLoop(pb.StartLoopRequest(name=looped))
    await gateway.finished(looped)
    numbers = [one.sequence for one in await gateway.events(looped)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > last
    await Keys(gateway.server).make("default", Scope.READ)
    assert await gateway.count("SELECT count(*) FROM audit_log") == 2


def name_of(database_url: str) -> str:
    """The database's name."""
    return str(create_async_engine(database_url).url.database)


def quiet(_step: str, _done: int) -> None:
    """Nobody looks."""


async def backed_up(database_url: str, objects: Path, place: Place) -> Manifest:
    """A backup."""
    return await create(database_url, LocalObjectStore(objects), place, quiet)


async def restored(database_url: str, objects: Path, place: Place, replace: str | None = None) -> list[str]:
    """Restores the newest backup; what is lost."""
    manifest = await manifest_of(place, None)
    return await restore(database_url, LocalObjectStore(objects), place, manifest, quiet, replace=replace)


def files(folder: Path) -> set[str]:
    """Names of files."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def run(url: str, work: Callable[[Connection], T]) -> T:
    """What some work on one transaction gives."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        found = await connection.run_sync(work)
    await engine.dispose()
    return found
