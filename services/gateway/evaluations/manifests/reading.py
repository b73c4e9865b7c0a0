"""A manifest of any format -> items, one at a time: memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import BinaryIO

from services.gateway.evaluations.manifests import jsonl, parquet, webdataset
from services.gateway.evaluations.manifests.rows import Row, to_item, unreadable
from services.gateway.evaluations.model import EvaluationItem, ItemResult

MAX_ITEMS = 1_000_000
"""Items of one manifest."""

_TAR_MAGIC = slice(257, 262)


class Format(StrEnum):
    """What the bytes of a manifest are."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    WEBDATASET = "webdataset"


_ROWS: dict[Format, Callable[[BinaryIO], Iterator[Row]]] = {
    Format.JSONL: jsonl.rows,
    Format.PARQUET: parquet.rows,
    Format.WEBDATASET: webdataset.rows,
}


def read_manifest(file: BinaryIO, format_: Format | None) -> Iterator[EvaluationItem | ItemResult]:
    """The items of a file in order, offsets from 0; for each bad row an item that failed.

    Args:
        file: A file that can seek, at its beginning.
        format_: What it is; None tells it from the first bytes.

    Raises:
        InvalidInputError: MANIFEST_UNREADABLE, the file as a whole cannot be read, or has too many items. Items before
            the fault are given.
        OSError: the disk cannot be read.
    """
    for offset, row in enumerate(_ROWS[format_ or told_from_bytes(file)](file)):
        if offset == MAX_ITEMS:
            raise unreadable("has too many items", f"at most {MAX_ITEMS:,}")
        yield to_item(row, offset)


def told_from_bytes(file: BinaryIO) -> Format:
    """What a file is, by its first bytes. Raises InvalidInputError (MANIFEST_UNREADABLE) if it is nothing known."""
    head = file.read(512)
    file.seek(0)
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head[_TAR_MAGIC] == b"ustar":
        return Format.WEBDATASET
    if head.lstrip()[:1] == b"{":
        return Format.JSONL
    problem = "is neither JSON lines, Parquet nor an uncompressed tar"
    raise unreadable(problem, "one of the three, or format to say which")
