"""Object stores: whole or not at all, under the hash of what they hold."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from services.common.errors import InvalidInputError, NotFoundError, Reason, UnavailableError
from services.gateway.objects import LocalObjectStore, RemoteObjectStore, open_object_store
from services.gateway.ports import ObjectStore

DATA = b"picture" * 1000
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "local":
        return open_object_store((tmp_path / "store with space").as_uri())
    return RemoteObjectStore(fsspec.filesystem("memory"), f"bucket-{tmp_path.name}/prefix")


@contextmanager
def full_disk() -> Iterator[None]:
    """Writes beyond 4 KiB of any file fail for this process: also pytest's own, where its output goes into a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_what_is_put_can_be_got_until_it_is_deleted(store: ObjectStore) -> None:
    assert await store.put(DATA) == HASH
    assert await store.put(DATA) == HASH
    assert await store.get(HASH) == DATA
    await store.delete(HASH)
    await store.delete(HASH)
    with pytest.raises(NotFoundError) as caught:
        await store.get(HASH)
    assert caught.value.reason is Reason.IMAGE_NOT_FOUND
    await store.check()


@pytest.mark.parametrize("name", ["", "../../etc/passwd", HASH.upper(), HASH[:-1]])
async def test_nothing_but_a_hash_is_looked_up(store: ObjectStore, name: str) -> None:
    with pytest.raises(NotFoundError):
        await store.get(name)


async def test_local_files_are_sharded_and_nothing_else_lies_there(tmp_path: Path) -> None:
    await LocalObjectStore(tmp_path).put(DATA)
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [f"{HASH[:2]}/{HASH[2:4]}/{HASH}"]


async def test_many_puts_of_the_same_bytes_at_once(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    assert set(await asyncio.gather(*(store.put(DATA) for _ in range(8)))) == {HASH}
    assert await store.get(HASH) == DATA


async def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    with full_disk(), pytest.raises(UnavailableError) as caught:
        await store.put(DATA)
    assert caught.value.reason is Reason.OBJECT_STORE_UNAVAILABLE
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert await store.put(b"small") == hashlib.sha256(b"small").hexdigest()


async def test_damaged_bytes_are_never_handed_out(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    await store.put(DATA)
    path = tmp_path / HASH[:2] / HASH[2:4] / HASH
    path.write_bytes(b"x" + DATA[1:])
    with pytest.raises(UnavailableError, match="damaged"):
        await store.get(HASH)
    await store.put(DATA)
    assert await store.get(HASH) == DATA, "who has the bytes mends it"
    path.write_bytes(DATA[:10])
    await store.put(DATA)
    assert await store.get(HASH) == DATA, "a file that a crash cut short is replaced"


async def test_a_store_that_cannot_be_written_to_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = LocalObjectStore(tmp_path / "file" / "folder")
    for attempt in (store.check(), store.put(DATA)):
        with pytest.raises(UnavailableError) as caught:
            await attempt
        assert caught.value.reason is Reason.OBJECT_STORE_UNAVAILABLE


@pytest.mark.parametrize("url", ["", "/folder", "file://host/folder", "ftp://host/folder", "s3://"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match=r"file:///folder or s3://bucket/prefix"):
        open_object_store(url)


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_s3_without_s3fs_says_what_to_install() -> None:
    with pytest.raises(InvalidInputError, match=r"likeness\[s3\]"):
        open_object_store("s3://bucket/prefix")
