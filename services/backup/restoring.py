"""Brings a backup back, or checks that it could be."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sqlalchemy import Connection, Table, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.backup.creating import OBJECTS_FILE, Progress, check_known
from services.backup.manifest import Manifest, TableFile, damaged, read_manifest
from services.backup.objects import bring_back, lost_objects
from services.backup.place import MANIFEST, Place
from services.backup.tables import VERSION_TABLE, connected, load, ours
from services.common.errors import NotFoundError, PreconditionError, Reason
from services.gateway.ports import ObjectStore
from services.gateway.store.migrate import is_known, lock_schema, refuse_gateways, schema, upgrade


async def whole(place: Place) -> list[str]:
    """Names of the backups that can be restored, the oldest first."""
    return [name for name in await place.names() if await place.is_whole(name)]


async def manifest_of(place: Place, name: str | None) -> Manifest:
    """The manifest of a backup, of the newest if no name is given.

    Raises:
        NotFoundError: BACKUP_NOT_FOUND, if there is none, or it was interrupted.
        PreconditionError: BACKUP_DAMAGED.
    """
    known = await whole(place)
    if name is None and known:
        name = known[-1]
    if name not in known:
        hint = "" if known else "there is no whole backup in this place"
        raise NotFoundError(Reason.BACKUP_NOT_FOUND, "backup", name or "newest", field="name", known=known, hint=hint)
    with tempfile.TemporaryDirectory(prefix="likeness-backup-") as folder:
        path = Path(folder) / MANIFEST
        await place.fetch(name, MANIFEST, path)
        return read_manifest(path)


async def verify(place: Place, manifest: Manifest, progress: Progress) -> list[str]:
    """Reads all of a backup; returns the hashes of objects that it lost since it was made.

    Raises:
        PreconditionError: BACKUP_DAMAGED, if a file of it is.
        NotFoundError: BACKUP_NOT_FOUND, if one is not there.
    """
    with tempfile.TemporaryDirectory(prefix="likeness-backup-") as folder:
        await _fetch(place, manifest, Path(folder))
        listed = Path(folder) / OBJECTS_FILE
        lost = await lost_objects(listed, place.objects, lambda done: progress("objects", done))
    return [one for one in lost if one not in manifest.lost_objects]


async def restore(
    database_url: str,
    objects: ObjectStore,
    place: Place,
    manifest: Manifest,
    progress: Progress,
    *,
    replace: str | None = None,
) -> list[str]:
    """Brings a backup back, into this release's schema; returns the hashes of objects that are lost for good.

    Objects first, then all rows in one transaction: until it is committed, the database is what it was.

    Args:
        database_url: Of a database that no gateway uses.
        objects: Store that gets the objects; those that it has whole stay as they are.
        place: Where the backup lies.
        manifest: Of the backup.
        progress: Told what is done.
        replace: Name of the database, whose rows are then given up; None restores into an empty one only.

    Raises:
        PreconditionError: BACKUP_DAMAGED; DATABASE_NOT_EMPTY, DATABASE_IN_USE, DATABASE_TOO_NEW.
        UnavailableError: database, object store or place cannot be used.
    """
    if not is_known(manifest.revision):
        problem = f"it is of release {manifest.version}, whose tables this release does not know"
        raise damaged(problem)
    await _check_database(database_url, replace)
    with tempfile.TemporaryDirectory(prefix="likeness-backup-") as folder:
        spool = Path(folder)
        await _fetch(place, manifest, spool)
        await objects.check()
        lost = await bring_back(spool / OBJECTS_FILE, place, objects, lambda done: progress("objects", done))
        async with connected(database_url) as connection:
            await lock_schema(connection)
            await refuse_gateways(connection)
            await _check_empty(connection, replace)
            await connection.run_sync(_drop)
            await upgrade(connection, manifest.revision)
            tables = {table.name: table for table in await connection.run_sync(ours)}
            for rows in manifest.tables:
                await load(connection, _expected(tables, rows), rows, spool / rows.file.name)
                progress(rows.table, rows.row_count)
            await upgrade(connection, "head")
            await connection.execute(text("ANALYZE"))
    return lost


async def _fetch(place: Place, manifest: Manifest, spool: Path) -> None:
    """Copies all files of a backup to a local folder and checks them, before anything is changed."""
    for file in manifest.files:
        path = (spool / file.name).resolve()
        if not path.is_relative_to(spool.resolve()):
            raise damaged("its manifest names a file outside of it")
        path.parent.mkdir(exist_ok=True, parents=True)
        await place.fetch(manifest.name, file.name, path)
        file.check(path)


async def _check_database(database_url: str, replace: str | None) -> None:
    """Refuses early what would be refused in the end."""
    check_known(await schema(database_url))
    async with connected(database_url) as connection:
        await refuse_gateways(connection)
        await _check_empty(connection, replace)


async def _check_empty(connection: AsyncConnection, replace: str | None) -> None:
    full = [table.name for table in await connection.run_sync(ours) if await _has_rows(connection, table)]
    database = (await connection.execute(text("SELECT current_database()"))).scalar_one()
    if full and replace != database:
        named = f"; --replace names {replace!r}" if replace else ""
        message = (
            f"the database {database!r} is not empty ({', '.join(full[:5])}{', ...' if full[5:] else ''}){named}: "
            f"to give up what is in it, say --replace {database}"
        )
        raise PreconditionError(Reason.DATABASE_NOT_EMPTY, message)


async def _has_rows(connection: AsyncConnection, table: Table) -> bool:
    return (await connection.execute(select(literal(1)).select_from(table).limit(1))).first() is not None


def _drop(connection: Connection) -> None:
    """Drops the gateway's tables, and no other: where another's table refers to one of them, PostgreSQL refuses."""
    quoted = ", ".join(f'"{name}"' for name in (*(table.name for table in ours(connection)), VERSION_TABLE))
    connection.execute(text(f"DROP TABLE IF EXISTS {quoted}"))


def _expected(tables: dict[str, Table], rows: TableFile) -> Table:
    table = tables.get(rows.table)
    if table is None or not set(rows.columns) <= {column.name for column in table.columns}:
        raise damaged(f"its tables are not those of its revision: {rows.table}")
    return table
