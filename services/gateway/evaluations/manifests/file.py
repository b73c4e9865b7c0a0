"""A manifest on this machine's disk while a job reads it, without holding up the event loop."""

from __future__ import annotations

import asyncio
import tempfile
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, cast

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.common.settings import MEBIBYTE
from services.gateway.evaluations.manifests.inspection import inspect
from services.gateway.evaluations.manifests.reading import Format, read_manifest, told_from_bytes
from services.gateway.evaluations.model import EvaluationItem, ItemResult

BATCH_ITEMS = 64
BATCH_BYTES = 4 * MEBIBYTE
"""Items of one thread call: as many as this, or one larger item."""

Rows = Iterator[EvaluationItem | ItemResult]
T = TypeVar("T")


class ManifestFile:
    """A temporary file, gone when the block ends.

    Raises:
        InvalidInputError: MANIFEST_UNREADABLE, as `read_manifest`; of a tar in several parts it names the one that
            reading stopped in.
        UnavailableError: this machine's disk does not take it, or cannot be read.
    """

    def __init__(self, format_: Format | None) -> None:
        self._format = format_
        self._ends: list[int] = []
        self._is_inspected = False

    def __enter__(self) -> Self:
        opened = partial(tempfile.TemporaryFile, prefix="likeness-manifest-")
        self._file = cast(BinaryIO, _on_disk(opened))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A disk that is full says so again when the rest is written.
        with suppress(OSError):
            self._file.close()

    async def append(self, part: bytes) -> None:
        """Writes the next part."""

        def write() -> None:
            self._file.write(part)
            self._file.flush()

        await asyncio.to_thread(_on_disk, write)
        self._ends.append(self._file.tell())

    async def count(self) -> int:
        """Items, bad ones included; reads the file to its end, so that a fault anywhere in it is found."""
        count = 0
        async for batch in self._batches(lambda _: True):
            count += batch.read
        return count

    async def items(self, skip: Callable[[int], bool]) -> AsyncIterator[EvaluationItem | ItemResult]:
        """The items in order, and results of bad rows, without those whose offset is to be skipped."""
        async for batch in self._batches(skip):
            for item in batch.items:
                yield item

    async def _batches(self, skip: Callable[[int], bool]) -> AsyncIterator[_Batch]:
        try:
            self._format = self._format or await asyncio.to_thread(_on_disk, self._told)
            if self._format is Format.PARQUET and not self._is_inspected:
                # Of the readers, pyarrow's is not written in Python: what ends it would end the gateway.
                await inspect(self._file, self._format)
                self._is_inspected = True
            rows = await asyncio.to_thread(_on_disk, self._rows)
            while (batch := await asyncio.to_thread(_on_disk, lambda: _batch(rows, skip))).read:
                yield batch
        except InvalidInputError as error:
            raise await asyncio.to_thread(self._placed, error) from error

    def _told(self) -> Format:
        self._file.seek(0)
        return told_from_bytes(self._file)

    def _rows(self) -> Rows:
        self._file.seek(0)
        return read_manifest(self._file, self._format)

    def _placed(self, error: InvalidInputError) -> InvalidInputError:
        """The error, with the part that reading stopped in, where it goes from the first to the last."""
        if len(self._ends) < 2 or self._format is not Format.WEBDATASET:
            return error
        index = min(bisect_left(self._ends, self._file.tell()), len(self._ends) - 1)
        problem = f"{error.message}; reading stopped in part {index + 1} of {len(self._ends)}"
        return InvalidInputError(part_field(index), problem, reason=error.reason)


class _Batch:
    def __init__(self) -> None:
        self.read = 0
        self.items: list[EvaluationItem | ItemResult] = []


def part_field(index: int) -> str:
    """The field that names a part of a manifest."""
    return f"manifest.parts.content_hashes[{index}]"


def _batch(rows: Rows, skip: Callable[[int], bool]) -> _Batch:
    batch, size = _Batch(), 0
    for item in rows:
        batch.read += 1
        if not skip(item.offset):
            batch.items.append(item)
            size += item.size_bytes if isinstance(item, EvaluationItem) else 0
        # Items that are skipped hold nothing, but counting them must not keep a cancel waiting either.
        if len(batch.items) == BATCH_ITEMS or size >= BATCH_BYTES or batch.read == BATCH_ITEMS * 16:
            break
    return batch


def _on_disk(work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        # Whatever the manifest is: another gateway, or this one with more room, can read it.
        message = f"this gateway's disk does not take the manifest ({type(error).__name__})"
        raise UnavailableError(Reason.OBJECT_STORE_UNAVAILABLE, message) from error
