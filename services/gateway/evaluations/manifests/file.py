"""A manifest on this machine's disk while a job reads it, without holding up the event loop."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Self, cast

from services.common.errors import Reason, UnavailableError
from services.common.settings import MEBIBYTE
from services.gateway.evaluations.manifests.reading import Format, read_manifest
from services.gateway.evaluations.model import EvaluationItem, ItemResult

BATCH_ITEMS = 64
BATCH_BYTES = 4 * MEBIBYTE
"""Items of one thread call: as many as this, or one larger item."""

Rows = Iterator[EvaluationItem | ItemResult]


class ManifestFile:
    """A temporary file, gone when the block ends. Raises InvalidInputError as `read_manifest` does."""

    def __init__(self, format_: Format | None) -> None:
        self._format = format_

    def __enter__(self) -> Self:
        self._file = cast(BinaryIO, tempfile.TemporaryFile(prefix="likeness-manifest-"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    async def append(self, part: bytes) -> None:
        """Writes the next part. Raises UnavailableError if this machine's disk does not take it."""
        try:
            await asyncio.to_thread(self._file.write, part)
        except OSError as error:
            message = "the manifest does not fit on this gateway's disk"
            raise UnavailableError(Reason.OBJECT_STORE_UNAVAILABLE, message) from error

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
        rows = await asyncio.to_thread(self._rows)
        while (batch := await asyncio.to_thread(_batch, rows, skip)).read:
            yield batch

    def _rows(self) -> Rows:
        self._file.seek(0)
        return read_manifest(self._file, self._format)


class _Batch:
    def __init__(self) -> None:
        self.read = 0
        self.items: list[EvaluationItem | ItemResult] = []


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
