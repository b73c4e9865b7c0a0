"""What a backup says of itself. It is written when everything else is there, so that a backup with one is whole."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from services.common.errors import LikenessError, PreconditionError, Reason

FORMAT = 1
"""Of manifest and files. A version reads its own format and older ones."""


@dataclass(frozen=True)
class File:
    """A file of the backup.

    Attributes:
        name: Below the backup's folder.
        sha256: Hexadecimal, of the file as it lies there.
    """

    name: str
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, name: str, path: Path) -> File:
        """The file as it lies at a local path."""
        with path.open("rb") as data:
            return cls(name, path.stat().st_size, hashlib.file_digest(data, "sha256").hexdigest())

    def check(self, path: Path) -> None:
        """Raises PreconditionError(BACKUP_DAMAGED) if a local copy is another file."""
        if File.of(self.name, path) != self:
            raise damaged(f"{self.name} is not the file that was written")


@dataclass(frozen=True)
class TableFile:
    """The rows of a table, in PostgreSQL's text format of COPY, compressed by gzip."""

    table: str
    columns: tuple[str, ...]
    row_count: int
    file: File


@dataclass(frozen=True)
class Manifest:
    """A whole backup.

    Attributes:
        version: Release that wrote it.
        begin_time: When it was begun; rows are those of a moment shortly after.
        end_time: When all of it was there.
        revision: Schema that the tables have.
        tables: Those that others refer to first.
        object_count: Objects that rows name.
        objects: Their hashes, a line each in ascending order, compressed by gzip.
        lost_objects: Hashes of those that the deployment itself had lost: named by rows, and absent or damaged.
    """

    format: int
    name: str
    version: str
    begin_time: datetime
    end_time: datetime
    revision: str
    tables: tuple[TableFile, ...]
    object_count: int
    objects: File
    lost_objects: tuple[str, ...]

    @property
    def files(self) -> list[File]:
        """Every file but the manifest."""
        return [*(one.file for one in self.tables), self.objects]

    def write(self, path: Path) -> None:
        """Writes it to a local file."""
        path.write_text(json.dumps(asdict(self), indent=1, default=datetime.isoformat) + "\n", encoding="utf-8")


_ADAPTER = TypeAdapter(Manifest)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a local file.

    Raises:
        PreconditionError: BACKUP_DAMAGED, if it is none, or of a newer format.
    """
    try:
        body = json.loads(path.read_bytes())
        found = body.get("format") if isinstance(body, dict) else None
        if isinstance(found, int) and found > FORMAT:
            raise damaged(f"it has format {found}, this version reads up to {FORMAT}: use the release that wrote it")
        return _ADAPTER.validate_python(body)
    except (ValueError, ValidationError) as error:
        raise damaged("its manifest cannot be read") from error


def damaged(problem: str) -> LikenessError:
    """The error for a backup that is not what was written."""
    return PreconditionError(Reason.BACKUP_DAMAGED, f"the backup cannot be used: {problem}")
