"""Object stores: bytes by SHA-256, in a local folder or in S3-compatible storage."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from services.common import telemetry
from services.common.durable_files import write_durably
from services.common.errors import DamagedObjectError, InvalidInputError, NotFoundError, Reason, UnavailableError
from services.gateway.ports import ObjectStore

URL_FIELD = "LIKENESS_OBJECT_STORE_URL"
PROBE = b"\0" * 4096
"""Written and removed by `check`: a full disk refuses a block, not an empty file."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")
log = telemetry.get_logger(__name__)


def open_object_store(url: str) -> ObjectStore:
    """The store behind file:///folder or s3://bucket/prefix.

    Raises:
        InvalidInputError: the URL names no such store, or s3fs is not installed.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path and parts.netloc in ("", "localhost"):
        return LocalObjectStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        return RemoteObjectStore(s3_filesystem(URL_FIELD), f"{parts.netloc}{parts.path}".rstrip("/"))
    raise InvalidInputError(URL_FIELD, f"is {url!r}", allowed="file:///folder or s3://bucket/prefix")


class LocalObjectStore:
    """Files under a folder, sharded by the first two bytes of the hash. Nothing half-written is ever visible."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, data: bytes) -> str:
        """Stores bytes durably (idempotent) and returns their content hash."""
        return await _in_thread(lambda: self._put(data))

    async def get(self, content_hash: str) -> bytes:
        """Bytes of a hash.

        Raises:
            NotFoundError: IMAGE_NOT_FOUND, if absent.
            UnavailableError: OBJECT_STORE_UNAVAILABLE, if unreadable; DamagedObjectError if damaged.
        """
        path = self._path(content_hash)
        try:
            data = await _in_thread(path.read_bytes)
        except FileNotFoundError as error:
            raise _absent(content_hash) from error
        return await _verified(content_hash, data)

    async def delete(self, content_hash: str) -> None:
        """Removes bytes; absent is fine."""
        path = self._path(content_hash)
        await _in_thread(lambda: path.unlink(missing_ok=True))

    async def check(self) -> None:
        """Raises UnavailableError(OBJECT_STORE_UNAVAILABLE) if it cannot be written to."""
        await _in_thread(self._probe)

    def _path(self, content_hash: str) -> Path:
        _check_hash(content_hash)
        return self._root / content_hash[:2] / content_hash[2:4] / content_hash

    def _put(self, data: bytes) -> str:
        content_hash = hashlib.sha256(data).hexdigest()
        path = self._path(content_hash)
        # A file of other bytes was damaged, or cut by a crash of the machine; it is written again.
        with suppress(FileNotFoundError):
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                return content_hash
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, self._root, lambda file: file.write(data))
        return content_hash

    def _probe(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".probe-", dir=self._root) as file:
            file.write(PROBE)


class RemoteObjectStore:
    """Objects under a prefix of an fsspec filesystem; an object appears whole or not at all."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._files = filesystem
        self._root = root

    async def put(self, data: bytes) -> str:
        """Stores bytes durably (idempotent) and returns their content hash."""
        content_hash = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        path = self._path(content_hash)
        if not await _in_thread(lambda: bool(self._files.exists(path))):
            await _in_thread(lambda: self._files.pipe_file(path, data))
        return content_hash

    async def get(self, content_hash: str) -> bytes:
        """Bytes of a hash; errors as LocalObjectStore."""
        path = self._path(content_hash)
        try:
            data: bytes = await _in_thread(lambda: self._files.cat_file(path))
        except FileNotFoundError as error:
            raise _absent(content_hash) from error
        return await _verified(content_hash, data)

    async def delete(self, content_hash: str) -> None:
        """Removes bytes; absent is fine."""
        path = self._path(content_hash)

        def remove() -> None:
            with suppress(FileNotFoundError):
                self._files.rm_file(path)

        await _in_thread(remove)

    async def check(self) -> None:
        """Raises UnavailableError(OBJECT_STORE_UNAVAILABLE) if it cannot be written to."""
        await _in_thread(lambda: self._files.pipe_file(f"{self._root}/.probe", PROBE))

    def _path(self, content_hash: str) -> str:
        _check_hash(content_hash)
        return f"{self._root}/{content_hash[:2]}/{content_hash[2:4]}/{content_hash}"


def s3_filesystem(field: str) -> Any:
    """S3-compatible storage as an fsspec filesystem, by the usual AWS_ environment.

    Raises:
        InvalidInputError: s3fs is not installed; blamed on the setting or argument that names such storage.
    """
    try:
        import s3fs
    except ImportError as error:
        problem = "names S3 storage, for which s3fs is not installed"
        raise InvalidInputError(field, problem, allowed="pip install 'likeness[s3]', or a file:// URL") from error
    # Keys, region and endpoint come from the usual AWS_ environment. Listings would hide other gateways' objects.
    return s3fs.S3FileSystem(use_listings_cache=False)


async def _in_thread(work: Callable[[], T]) -> T:
    """Runs blocking work. Absence is for the caller; every other failure is the store's."""
    try:
        return await asyncio.to_thread(work)
    except FileNotFoundError:
        raise
    except Exception as error:  # botocore's errors share no base with OSError
        log.warning("object_store_failed", problem=type(error).__name__, detail=str(error)[:200])
        raise UnavailableError(
            Reason.OBJECT_STORE_UNAVAILABLE, "the object store cannot be used", retry_after_seconds=5.0
        ) from error


async def _verified(content_hash: str, data: bytes) -> bytes:
    if await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()) != content_hash:
        log.error("object_damaged", content_hash=content_hash, size_bytes=len(data))
        raise DamagedObjectError(content_hash)
    return data


def _check_hash(content_hash: str) -> None:
    # Also keeps anything but a hash out of paths.
    if not _SHA256.fullmatch(content_hash):
        raise _absent(content_hash)


def _absent(content_hash: str) -> NotFoundError:
    return NotFoundError(Reason.IMAGE_NOT_FOUND, "image", content_hash, field="content_hash")
