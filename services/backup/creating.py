"""Makes a backup of a deployment that goes on working."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

import likeness
from services.backup.manifest import FORMAT, File, Manifest, TableFile
from services.backup.objects import save_objects
from services.backup.place import MANIFEST, Place
from services.backup.tables import connected, dump, dump_object_hashes, ours, still_named
from services.common.errors import InvalidInputError, PreconditionError, Reason
from services.gateway.ports import ObjectStore
from services.gateway.store.migrate import Schema, SchemaState, schema

OBJECTS_FILE = "objects.txt.gz"
MAX_PASSES = 5
"""Times that rows are read anew because objects that they name were deleted meanwhile."""

Progress = Callable[[str, int], None]
"""Told the name of a step, and how many rows or objects of it are done."""


@dataclass(frozen=True)
class _Rows:
    """What a database had at one moment."""

    tables: tuple[TableFile, ...]
    objects: File
    object_count: int


async def create(database_url: str, objects: ObjectStore, place: Place, progress: Progress) -> Manifest:
    """Backs up a database and the objects that its rows name. What is there of it before the end is no backup.

    Rows first, then objects: bytes are stored before the row that names them, so what rows name is there. Unless it is
    deleted before it is copied: then rows are read again, by when almost all objects have been copied.

    Raises:
        InvalidInputError: the database has no tables.
        PreconditionError: DATABASE_TOO_NEW, if a newer release has changed the tables; BACKUP_DISTURBED, if deletions
            did not leave enough time.
        UnavailableError: database, object store or place cannot be used.
    """
    stands = await schema(database_url)
    check_known(stands)
    if stands.state is SchemaState.EMPTY:
        raise InvalidInputError("LIKENESS_DATABASE_URL", "names a database that no gateway has used yet")
    begin = datetime.now(UTC)
    name = f"{begin:%Y%m%dT%H%M%S}.{begin.microsecond // 1000:03}Z"
    with tempfile.TemporaryDirectory(prefix="likeness-backup-") as folder:
        spool = Path(folder)
        listed = spool / OBJECTS_FILE
        for _ in range(MAX_PASSES):
            rows = await _save_rows(database_url, place, name, spool, progress)
            lost = await save_objects(listed, objects, place, lambda done: progress("objects", done))
            if await _all_still_named(database_url, lost):
                break
        else:
            message = "sessions are being deleted faster than their pictures can be copied; try again"
            raise PreconditionError(Reason.BACKUP_DISTURBED, message)
        manifest = Manifest(
            format=FORMAT,
            name=name,
            version=likeness.__version__,
            begin_time=begin,
            end_time=datetime.now(UTC),
            revision=stands.revision,
            tables=rows.tables,
            object_count=rows.object_count,
            objects=rows.objects,
            lost_objects=tuple(lost),
        )
        manifest.write(spool / MANIFEST)
        await place.save(name, MANIFEST, spool / MANIFEST)
    return manifest


def check_known(stands: Schema) -> None:
    """Raises PreconditionError(DATABASE_TOO_NEW) if a newer release has changed the tables."""
    if stands.state is SchemaState.AHEAD:
        message = f"the database is at revision {stands.revision}, which this release ({stands.wanted}) does not know"
        raise PreconditionError(Reason.DATABASE_TOO_NEW, message)


async def _save_rows(database_url: str, place: Place, name: str, spool: Path, progress: Progress) -> _Rows:
    tables = []
    async with connected(database_url) as connection:
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        for table in await connection.run_sync(ours):
            path = spool / "rows.copy.gz"
            tables.append(await dump(connection, table, path))
            await place.save(name, tables[-1].file.name, path)
            progress(table.name, tables[-1].row_count)
        count = await dump_object_hashes(connection, spool / OBJECTS_FILE)
    objects = File.of(OBJECTS_FILE, spool / OBJECTS_FILE)
    await place.save(name, OBJECTS_FILE, spool / OBJECTS_FILE)
    return _Rows(tuple(tables), objects, count)


async def _all_still_named(database_url: str, hashes: Sequence[str]) -> bool:
    if not hashes:
        return True
    async with connected(database_url) as connection:
        return await still_named(connection, hashes) == set(hashes)
