"""Which pictures the object store holds, and which of them nothing needs any more.

Bytes and row live in two places, so putting and collecting the same picture must not overlap: a put holds a shared
advisory lock on the hash until the row that refers to the picture is committed, a collection holds it exclusively.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, delete, exists, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import NotFoundError, Reason
from services.gateway.domain import ImageInfo
from services.gateway.ports import ObjectStore
from services.gateway.profiles.model import Album
from services.gateway.store import rows
from services.gateway.store.database import Database
from services.gateway.store.tables import candidates, images, sessions

_SWEEP_BATCH = 500


class ImageRepository:
    """Rows of pictures beside their bytes in the object store."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def add(self, data: bytes, info: ImageInfo) -> None:
        """Stores a caller's picture for good; the same bytes again are free."""
        async with self._database.transaction() as connection:
            await self.keep(connection, data, info)
            await _mark_uploaded(connection, info.content_hash)

    async def find(self, content_hash: str, *, field: str = "content_hash") -> ImageInfo:
        """What is known of a picture.

        Raises:
            NotFoundError: IMAGE_NOT_FOUND, blamed on `field`.
        """
        async with self._database.query() as connection:
            query = select(images).where(images.c.content_hash == content_hash)
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(Reason.IMAGE_NOT_FOUND, "image", content_hash, field=field)
        return rows.image(row)

    async def find_all(self, content_hashes: Iterable[str]) -> dict[str, ImageInfo]:
        """What is known of pictures, by content hash, without those that are absent."""
        async with self._database.query() as connection:
            query = select(images).where(images.c.content_hash.in_(set(content_hashes)))
            return {row["content_hash"]: rows.image(row) for row in (await connection.execute(query)).mappings()}

    async def keep_for_good(self, connection: AsyncConnection, content_hashes: Iterable[str], album: Album) -> None:
        """Makes sure that pictures are stored and never collected; the album has the bytes of those that may be new.

        Raises:
            NotFoundError: IMAGE_NOT_FOUND, if one without bytes was collected meanwhile.
        """
        # In one order, so that two calls with the same pictures cannot wait for each other.
        for content_hash in sorted(set(content_hashes)):
            if content_hash in album.data:
                await self.keep(connection, album.data[content_hash], album.infos[content_hash])
            else:
                await self.hold(connection, content_hash, field="content_hash")
            await _mark_uploaded(connection, content_hash)

    async def keep(self, connection: AsyncConnection, data: bytes, info: ImageInfo) -> None:
        """Stores bytes and row. The caller adds what refers to the picture in the same transaction."""
        await _lock(connection, info.content_hash, shared=True)
        await self._objects.put(data)
        await connection.execute(
            insert(images)
            .values(
                content_hash=info.content_hash,
                pixel_hash=info.pixel_hash,
                media_type=info.media_type,
                width_pixels=info.width_pixels,
                height_pixels=info.height_pixels,
                size_bytes=info.size_bytes,
            )
            .on_conflict_do_nothing()
        )

    async def hold(self, connection: AsyncConnection, content_hash: str, *, field: str = "target.content_hash") -> None:
        """Keeps a stored picture from being collected until this transaction, which refers to it, ends.

        Raises:
            NotFoundError: IMAGE_NOT_FOUND, blamed on `field`, if it was collected already.
        """
        await _lock(connection, content_hash, shared=True)
        query = select(images.c.content_hash).where(images.c.content_hash == content_hash)
        if (await connection.execute(query)).first() is None:
            raise NotFoundError(Reason.IMAGE_NOT_FOUND, "image", content_hash, field=field)

    async def collect(self, content_hashes: Iterable[str]) -> int:
        """Deletes those pictures that nothing refers to; returns how many."""
        collected = 0
        for content_hash in sorted(set(content_hashes)):
            async with self._database.transaction() as connection:
                await _lock(connection, content_hash, shared=False)
                query = select(images.c.content_hash).where(images.c.content_hash == content_hash, _unused())
                if (await connection.execute(query)).first() is None:
                    continue
                # Bytes first: a failure leaves a row without bytes to no one, and the next sweep tries again.
                await self._objects.delete(content_hash)
                await connection.execute(delete(images).where(images.c.content_hash == content_hash))
                collected += 1
        return collected

    async def sweep(self) -> int:
        """Collects what a gateway that died while deleting a session left behind; returns how many."""
        async with self._database.transaction() as connection:
            query = select(images.c.content_hash).where(_unused()).limit(_SWEEP_BATCH)
            found = (await connection.execute(query)).scalars().all()
        return await self.collect(found)


def _unused() -> ColumnElement[bool]:
    return and_(
        images.c.uploaded.is_(False),
        ~exists().where(sessions.c.target_hash == images.c.content_hash),
        ~exists().where(candidates.c.image_hash == images.c.content_hash),
    )


async def _mark_uploaded(connection: AsyncConnection, content_hash: str) -> None:
    query = update(images).where(images.c.content_hash == content_hash, images.c.uploaded.is_(False))
    await connection.execute(query.values(uploaded=True))


async def _lock(connection: AsyncConnection, content_hash: str, *, shared: bool) -> None:
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    key = int.from_bytes(bytes.fromhex(content_hash)[:8], "big", signed=True)
    await connection.execute(text(f"SELECT {function}(:key)"), {"key": key})
