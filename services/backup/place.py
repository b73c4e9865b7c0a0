"""Where backups lie: a folder, or a prefix in S3-compatible storage."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from services.common.durable_files import write_durably
from services.common.errors import InvalidInputError, NotFoundError, Reason, UnavailableError
from services.gateway.objects import LocalObjectStore, RemoteObjectStore, s3_filesystem
from services.gateway.ports import ObjectStore

FIELD = "place"
MANIFEST = "manifest.json"
_FOLDERS = {"objects": "objects", "backups": "backups"}
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{3}Z")
_PREFIX = re.compile(r"[0-9a-f]{2}")

T = TypeVar("T")


class Place(Protocol):
    """Files of backups, and objects that backups share. A file appears whole or not at all."""

    @property
    def objects(self) -> ObjectStore:
        """The objects of all backups here."""

    async def stored(self, prefix: str) -> set[str]:
        """Hashes of objects here that begin with two hexadecimal digits; what does not, is no hash and not here."""

    async def names(self) -> list[str]:
        """Names of all backups, the oldest first, also of those that were interrupted."""

    async def is_whole(self, name: str) -> bool:
        """Whether a backup has its manifest, which is written last."""

    async def save(self, name: str, file: str, source: Path) -> None:
        """Copies a local file into a backup."""

    async def fetch(self, name: str, file: str, target: Path) -> None:
        """Copies a file of a backup to a local one; NotFoundError(BACKUP_NOT_FOUND) if it is not there."""

    async def remove(self, name: str) -> None:
        """Removes a backup, its manifest first; objects stay."""


def open_place(where: str) -> Place:
    """The place behind a folder, file:///folder or s3://bucket/prefix.

    Raises:
        InvalidInputError: it is none of these, or s3fs is not installed.
    """
    parts = urlsplit(where)
    if not parts.scheme and where:
        return LocalPlace(Path(where).absolute())
    if parts.scheme == "file" and parts.path and parts.netloc in ("", "localhost"):
        return LocalPlace(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        return RemotePlace(s3_filesystem(FIELD), f"{parts.netloc}{parts.path}".rstrip("/"))
    raise InvalidInputError(FIELD, f"is {where!r}", allowed="a folder, file:///folder or s3://bucket/prefix")


class LocalPlace:
    """A folder. What is in it can be read by its owner only: it holds other people's pictures."""

    def __init__(self, root: Path) -> None:
        self._objects = root / _FOLDERS["objects"]
        self._backups = root / _FOLDERS["backups"]
        self.objects: ObjectStore = LocalObjectStore(self._objects)

    async def stored(self, prefix: str) -> set[str]:
        """Hashes of objects here that begin with two hexadecimal digits."""
        if not _PREFIX.fullmatch(prefix):
            return set()
        folder = self._objects / prefix
        # Objects in the making begin with a dot.
        return await _done(lambda: {path.name for path in folder.glob("*/*") if not path.name.startswith(".")})

    async def names(self) -> list[str]:
        """Names of all backups, the oldest first."""
        return await _done(lambda: _names(path.name for path in self._backups.glob("*")))

    async def is_whole(self, name: str) -> bool:
        """Whether a backup has its manifest."""
        return await _done((self._backups / name / MANIFEST).is_file)

    async def save(self, name: str, file: str, source: Path) -> None:
        """Copies a local file into a backup, durably."""
        await _done(lambda: self._save(self._backups / name / file, source))

    async def fetch(self, name: str, file: str, target: Path) -> None:
        """Copies a file of a backup to a local one."""
        path = self._backups / name / file
        with _known(name, file):
            await _done(lambda: shutil.copyfile(path, target))

    async def remove(self, name: str) -> None:
        """Removes a backup, its manifest first."""
        folder = self._backups / name
        await _done(lambda: (folder / MANIFEST).unlink(missing_ok=True))
        await _done(lambda: shutil.rmtree(folder))

    def _save(self, path: Path, source: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with source.open("rb") as data:
            write_durably(path, self._backups, lambda file: shutil.copyfileobj(data, file))


class RemotePlace:
    """A prefix of an fsspec filesystem, which shows a file when all of it is there."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._files = filesystem
        self._objects = f"{root}/{_FOLDERS['objects']}"
        self._backups = f"{root}/{_FOLDERS['backups']}"
        self.objects: ObjectStore = RemoteObjectStore(filesystem, self._objects)

    async def stored(self, prefix: str) -> set[str]:
        """Hashes of objects here that begin with two hexadecimal digits."""
        if not _PREFIX.fullmatch(prefix):
            return set()
        folder = f"{self._objects}/{prefix}"
        return await _done(lambda: {path.rpartition("/")[2] for path in self._found(folder)})

    async def names(self) -> list[str]:
        """Names of all backups, the oldest first."""
        start = len(self._files._strip_protocol(self._backups)) + 1
        return await _done(lambda: _names(path[start:].partition("/")[0] for path in self._found(self._backups)))

    async def is_whole(self, name: str) -> bool:
        """Whether a backup has its manifest."""
        return await _done(lambda: bool(self._files.exists(f"{self._backups}/{name}/{MANIFEST}")))

    async def save(self, name: str, file: str, source: Path) -> None:
        """Copies a local file into a backup."""
        await _done(lambda: self._files.put_file(str(source), f"{self._backups}/{name}/{file}"))

    async def fetch(self, name: str, file: str, target: Path) -> None:
        """Copies a file of a backup to a local one."""
        with _known(name, file):
            await _done(lambda: self._files.get_file(f"{self._backups}/{name}/{file}", str(target)))

    async def remove(self, name: str) -> None:
        """Removes a backup, its manifest first."""
        with suppress(FileNotFoundError):
            await _done(lambda: self._files.rm_file(f"{self._backups}/{name}/{MANIFEST}"))
        await _done(lambda: self._files.rm(f"{self._backups}/{name}", recursive=True))

    def _found(self, folder: str) -> list[str]:
        try:
            return list(self._files.find(folder))
        except FileNotFoundError:
            return []


@contextmanager
def _known(name: str, file: str) -> Iterator[None]:
    """Says of which backup a file is missing."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(Reason.BACKUP_NOT_FOUND, "backup", f"{name}/{file}", field="name") from error


def _names(found: Iterable[str]) -> list[str]:
    return sorted({name for name in found if _NAME.fullmatch(name)})


async def _done(work: Callable[[], T]) -> T:
    """Runs blocking work in a thread. Absence is for the caller; every other failure is the place's."""
    try:
        return await asyncio.to_thread(work)
    except FileNotFoundError:
        raise
    except Exception as error:  # botocore's errors share no base with OSError
        problem = getattr(error, "strerror", None) or type(error).__name__
        raise UnavailableError(
            Reason.OBJECT_STORE_UNAVAILABLE, f"the place of backups cannot be used: {problem}"
        ) from error
