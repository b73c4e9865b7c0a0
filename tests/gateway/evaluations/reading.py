"""Reads manifests as a job does, without a job."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pyarrow
import pyarrow.parquet

from services.gateway.evaluations.manifests import Format, read_manifest
from services.gateway.evaluations.model import EvaluationItem, ItemResult


def read(data: bytes, format_: Format | None = None) -> list[EvaluationItem | ItemResult]:
    """The items of a manifest."""
    return list(read_manifest(io.BytesIO(data), format_))


def only(data: bytes, format_: Format | None = None) -> EvaluationItem:
    """The one good item of a manifest."""
    (item,) = read(data, format_)
    assert isinstance(item, EvaluationItem), item
    return item


def error_of(data: bytes, format_: Format | None = None) -> tuple[str, str]:
    """Field and message of the one bad item of a manifest."""
    (result,) = read(data, format_)
    assert isinstance(result, ItemResult) and result.error is not None
    assert result.error.code == "INVALID_ARGUMENT"
    return result.error.error.field, result.error.error.message


def table(rows: list[dict[str, Any]]) -> bytes:
    """Parquet of rows."""
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """A tar of one empty member of any kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info)
    return out.getvalue()
