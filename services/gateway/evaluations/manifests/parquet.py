"""Parquet: a row is an item, columns are named as the fields; a picture is bytes, a hash or Hugging Face's struct."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO

from services.common.settings import MEBIBYTE
from services.gateway.evaluations.manifests.rows import FIELDS, Row, unreadable

BATCH_ROWS = 16
MAX_GROUP_BYTES = 512 * MEBIBYTE
"""Of one column of a row group, decompressed: what a few bytes of a file may become in memory."""


def rows(file: BinaryIO) -> Iterator[Row]:
    """The rows of a file.

    Raises:
        InvalidInputError: it is no readable Parquet file, has a column that is no field, or pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        problem = "is Parquet, for which pyarrow is not installed on the gateway"
        raise unreadable(problem, "JSON lines or WebDataset tar") from None
    try:
        parquet = pyarrow.parquet.ParquetFile(file)
        _check(parquet.metadata, parquet.schema_arrow.names)
        number = 0
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
            for fields in batch.to_pylist():
                number += 1
                digest, size = _digest(fields)
                yield Row(f"row {number}", digest, size, partial(_given, fields))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        if getattr(error, "errno", None) is not None:
            # The disk's, and not pyarrow's.
            raise
        raise unreadable(f"is not readable as Parquet ({type(error).__name__})", "a whole Parquet file") from error


def _check(metadata: Any, columns: list[str]) -> None:
    unknown = next((name for name in columns if name not in FIELDS), None)
    if unknown is not None:
        problem = f"has the column {unknown[:100]!r}"
        raise unreadable(problem, f"columns among {', '.join(FIELDS)}")
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            size = metadata.row_group(group).column(column).total_uncompressed_size
            if size > MAX_GROUP_BYTES:
                problem = f"has {size:,} bytes in a column of row group {group}"
                raise unreadable(problem, f"at most {MAX_GROUP_BYTES // MEBIBYTE} MiB")


def _given(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return fields


def _digest(fields: Mapping[str, Any]) -> tuple[bytes, int]:
    said = repr(sorted(fields.items())).encode()
    return hashlib.sha256(said).digest(), len(said)
