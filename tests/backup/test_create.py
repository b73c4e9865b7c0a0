"""What a backup holds when things change or break while it is made, and what is given up of old ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import fsspec
import pytest

from likeness.gateway.v1 import session_service_pb2 as pb
from likeness.types.v1 import image_pb2
from services.backup.creating import MAX_PASSES, create
from services.backup.manifest import FORMAT
from services.backup.place import LocalPlace, Place, RemotePlace
from services.backup.restoring import manifest_of, restore, verify, whole
from services.backup.thinning import thin
from services.common.errors import InvalidInputError, NotFoundError, PreconditionError, Reason
from services.common.images import content_hash
from services.gateway.objects import LocalObjectStore
from tests.backup.living import destroyed, parts_on
from tests.backup.test_restore import backed_up, files, name_of, quiet, restored
from tests.gateway.conftest import TARGET, Gateway, running
from tests.gateway.doubles import draw

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TARGET_HASH = content_hash(TARGET)
OTHER = draw("rgb 1 2 3", 1)
OTHER_HASH = content_hash(OTHER)


class Watched(LocalObjectStore):
    """Tells which objects are read."""

    def __init__(self, root: Path, told: Callable[[str], None]) -> None:
        super().__init__(root)
        self._told = told

    async def get(self, content_hash: str) -> bytes:
        """Bytes of a hash."""
        self._told(content_hash)
        return await super().get(content_hash)


class Disturbed(LocalObjectStore):
    """Does something before objects are read: at each attempt the next thing, as long as there are any."""

    def __init__(self, root: Path, things: list[Callable[[], Awaitable[object]]]) -> None:
        super().__init__(root)
        self._things = things
        self._reading = asyncio.Lock()

    async def get(self, content_hash: str) -> bytes:
        """Bytes of a hash."""
        async with self._reading:
            if self._things:
                await self._things.pop(0)()
            return await super().get(content_hash)


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """The deployment's pictures."""
    return tmp_path / "objects"


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where backups go."""
    if request.param == "folder":
        return LocalPlace(tmp_path / "place")
    return RemotePlace(fsspec.filesystem("memory"), f"bucket-{tmp_path.name}/prefix")


@pytest.fixture
async def url(empty_database_url: str, objects: Path) -> str:
    """An empty database; no pictures."""
    await destroyed(empty_database_url, objects)
    return empty_database_url


async def test_only_new_objects_are_copied_and_every_backup_can_be_restored(
    url: str, objects: Path, place: Place
) -> None:
    async with running(url, parts_on(objects)) as gateway:
        first = await gateway.create()
        old = await backed_up(url, objects, place)
        later = await gateway.create(target=image_pb2.Image(data=OTHER))
        sent: list[str] = []
        new = await create(url, Watched(objects, sent.append), place, quiet)
    assert sent == [OTHER_HASH]
    assert await whole(place) == [old.name, new.name] and old.name < new.name
    assert await verify(place, old, quiet) == await verify(place, new, quiet) == []
    for manifest, sessions in ((old, {first}), (new, {first, later})):
        await destroyed(url, objects)
        assert await restore(url, LocalObjectStore(objects), place, manifest, quiet) == []
        async with running(url, parts_on(objects)) as gateway:
            listed = await gateway.stub.ListSessions(pb.ListSessionsRequest())
            assert {one.name for one in listed.sessions} == sessions
    assert await manifest_of(place, None) == new
    with pytest.raises(NotFoundError, match=old.name):
        await manifest_of(place, "20200101T000000.000Z")


async def test_an_interrupted_backup_is_none(url: str, objects: Path, place: Place) -> None:
    async with running(url, parts_on(objects)) as gateway:
        await gateway.create()
    for where in ("events", "objects"):

        def broken(step: str, _: int, where: str = where) -> None:
            if step == where:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            await create(url, LocalObjectStore(objects), place, broken)
    assert len(await place.names()) == 2 and await whole(place) == []
    with pytest.raises(NotFoundError) as caught:
        await restored(url, objects, place)
    assert caught.value.reason is Reason.BACKUP_NOT_FOUND
    done = await backed_up(url, objects, place)
    thinned = await thin(place, 1)
    assert len(thinned.backups) == 2 and thinned.objects == 0 and await place.names() == [done.name]


async def test_a_session_that_is_deleted_meanwhile_is_in_it_whole_or_not_at_all(
    url: str, objects: Path, place: Place
) -> None:
    async with running(url, parts_on(objects)) as gateway:
        gone, kept = await gateway.create(), await gateway.create(target=image_pb2.Image(data=OTHER))

        async def delete() -> None:
            await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=gone))

        manifest = await create(url, Disturbed(objects, [delete]), place, quiet)
        assert manifest.lost_objects == () and manifest.object_count == 1
    await destroyed(url, objects)
    await restored(url, objects, place)
    async with running(url, parts_on(objects)) as gateway:
        assert [one.name for one in (await gateway.stub.ListSessions(pb.ListSessionsRequest())).sessions] == [kept]


async def test_deletions_without_end_are_told(url: str, objects: Path, place: Place) -> None:
    async with running(url, parts_on(objects)) as gateway:
        names = [await fresh(gateway, 0)]

        async def another() -> None:
            names.append(await fresh(gateway, len(names)))
            await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=names[-2]))

        with pytest.raises(PreconditionError) as caught:
            await create(url, Disturbed(objects, [another] * MAX_PASSES), place, quiet)
    assert caught.value.reason is Reason.BACKUP_DISTURBED and await whole(place) == []


async def test_pictures_that_the_deployment_has_lost_are_named(url: str, objects: Path, place: Place) -> None:
    async with running(url, parts_on(objects)) as gateway:
        await gateway.create()
        await gateway.create(target=image_pb2.Image(data=OTHER))
        (objects / OTHER_HASH[:2] / OTHER_HASH[2:4] / OTHER_HASH).write_bytes(b"rotten")
        manifest = await backed_up(url, objects, place)
        assert manifest.lost_objects == (OTHER_HASH,)
        assert await verify(place, manifest, quiet) == [], "known to be lost"
    await destroyed(url, objects)
    assert await restored(url, objects, place) == [OTHER_HASH]
    assert files(objects) == {TARGET_HASH}


async def test_what_a_place_has_lost_is_found_and_the_rest_comes_back(url: str, objects: Path, place: Place) -> None:
    async with running(url, parts_on(objects)) as gateway:
        await gateway.create()
        await gateway.create(target=image_pb2.Image(data=OTHER))
    manifest = await backed_up(url, objects, place)
    await place.objects.delete(TARGET_HASH)
    assert await verify(place, manifest, quiet) == [TARGET_HASH]
    # The deployment may still have it.
    assert await restored(url, objects, place, replace=name_of(url)) == []
    await destroyed(url, objects)
    assert await restored(url, objects, place) == [TARGET_HASH]


async def test_old_backups_go_with_the_objects_that_only_they_name(url: str, objects: Path, place: Place) -> None:
    made = []
    async with running(url, parts_on(objects)) as gateway:
        await gateway.create()
        for number in range(3):
            name = await fresh(gateway, number)
            made.append(await backed_up(url, objects, place))
            await gateway.stub.DeleteSession(pb.DeleteSessionRequest(name=name))
    thinned = await thin(place, 2)
    assert thinned.backups == (made[0].name,) and thinned.objects == 1
    assert await whole(place) == [made[1].name, made[2].name]
    for manifest in made[1:]:
        assert await verify(place, manifest, quiet) == []
    with pytest.raises(InvalidInputError, match="at least 1"):
        await thin(place, 0)


async def test_a_manifest_that_cannot_be_read_is_told(url: str, objects: Path, tmp_path: Path) -> None:
    place = LocalPlace(tmp_path / "place")
    async with running(url, parts_on(objects)) as gateway:
        await gateway.create()
    manifest = await backed_up(url, objects, place)
    path = tmp_path / "place/backups" / manifest.name / "manifest.json"
    good = json.loads(path.read_text())
    outside = good | {"objects": good["objects"] | {"name": "../../outside"}}
    for body, says in (
        ("{", "cannot be read"),
        (json.dumps([]), "cannot be read"),
        (json.dumps(good | {"format": FORMAT + 1}), "use the release that wrote it"),
        (json.dumps(good | {"revision": "9999"}), "does not know"),
        (json.dumps(outside), "outside"),
    ):
        path.write_text(body)
        with pytest.raises(PreconditionError, match=says) as caught:
            await restored(url, objects, place, replace=name_of(url))
        assert caught.value.reason is Reason.BACKUP_DAMAGED


async def test_backups_can_be_read_by_their_owner_only(url: str, objects: Path, tmp_path: Path) -> None:
    async with running(url, parts_on(objects)) as gateway:
        await gateway.create()
    await backed_up(url, objects, LocalPlace(tmp_path / "place"))
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "place").rglob("*") if path.is_file()}
    assert modes == {0}


async def fresh(gateway: Gateway, number: int) -> str:
    """A session on a target of its own."""
    return await gateway.create(target=image_pb2.Image(data=draw(f"rgb {number} 2 3", number)))
