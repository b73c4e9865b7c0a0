"""Which pictures the object store holds, whose they are, and which of them nothing needs any more.

A picture is stored once however many tenants have it, each with an ownership of its own; another tenant's picture is
absent. It is collected when the last ownership goes. Bytes and rows live in two places, so putting and collecting the
same picture must not overlap: a put holds a shared advisory lock on the hash until the row that refers to the picture
is committed, a collection holds it exclusively.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import NotFoundError, Reason
from services.gateway.domain import ImageInfo
from services.gateway.ports import ObjectStore
from services.gateway.profiles.model import Album
from services.gateway.store import rows
from services.gateway.store.database import Database
from services.gateway.store.tables import candidates, image_owners, images, manifest_parts, sessions

_SWEEP_BATCH = 500


class ImageRepository:
    """Rows of pictures beside their bytes in the object store."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def add(self, tenant_id: str, data: bytes, info: ImageInfo) -> None:
        """Stores a caller's picture for good; the same bytes again are free."""
        async with self._database.transaction() as connection:
            await self.keep(connection, tenant_id, data, info)
            await _mark_uploaded(connection, tenant_id, info.content_hash)

    async def find(self, tenant_id: str, content_hash: str, *, field: str = "content_hash") -> ImageInfo:
        """What is known of a tenant's picture.

        Raises:
            NotFoundError: IMAGE_NOT_FOUND, blamed on `field`.
        """
        async with self._database.query() as connection:
            query = _owned(tenant_id).where(images.c.content_hash == content_hash)
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(Reason.IMAGE_NOT_FOUND, "image", content_hash, field=field)
        return rows.image(row)

    async def find_all(self, tenant_id: str, content_hashes: Iterable[str]) -> dict[str, ImageInfo]:
        """What is known of a tenant's pictures, by content hash, without those that are absent."""
        async with self._database.query() as connection:
            query = _owned(tenant_id).where(images.c.content_hash.in_(set(content_hashes)))
            return {row["content_hash"]: rows.image(row) for row in (await connection.execute(query)).mappings()}

    async def keep_for_good(
        self, connection: AsyncConnection, tenant_id: str, content_hashes: Iterable[str], album: Album
    ) -> None:
        """Makes sure that pictures are stored and never collected; the album has the bytes of those that may be new.

        Raises:
            NotFoundError: IMAGE_NOT_FOUND, if one without bytes was collected meanwhile.
        """
        # In one order, so that two calls with the same pictures cannot wait for each other.
        for content_hash in sorted(set(content_hashes)):
            if content_hash in album.data:
                await self.keep(connection, tenant_id, album.data[content_hash], album.infos[content_hash])
            else:
                await self.hold(connection, tenant_id, content_hash, field="content_hash")
            await _mark_uploaded(connection, tenant_id, content_hash)

    async def keep(self, connection: AsyncConnection, tenant_id: str, data: bytes, info: ImageInfo) -> None:
        """Stores bytes and rows. The caller adds what refers to the picture in the same transaction."""
        await lock_content(connection, info.content_hash, shared=True)
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
        ownership = insert(image_owners).values(tenant_id=tenant_id, content_hash=info.content_hash)
        await connection.execute(ownership.on_conflict_do_nothing())

    async def hold(
        self, connection: AsyncConnection, tenant_id: str, content_hash: str, *, field: str = "target.content_hash"
    ) -> None:
        """Keeps a tenant's stored picture from being collected until this transaction, which refers to it, ends.

        Raises:
            NotFoundError: IMAGE_NOT_FOUND, blamed on `field`, if it was collected already.
        """
        await lock_content(connection, content_hash, shared=True)
        query = _owned(tenant_id).where(images.c.content_hash == content_hash)
        if (await connection.execute(query)).first() is None:
            raise NotFoundError(Reason.IMAGE_NOT_FOUND, "image", content_hash, field=field)

    async def collect(self, tenant_id: str, content_hashes: Iterable[str]) -> int:
        """Takes from a tenant those pictures that nothing of its own refers to; returns how many.

        The bytes go with the last tenant's.
        """
        collected = 0
        for content_hash in sorted(set(content_hashes)):
            async with self._database.transaction() as connection:
                await lock_content(connection, content_hash, shared=False)
                mine = (image_owners.c.tenant_id == tenant_id, image_owners.c.content_hash == content_hash)
                gone = delete(image_owners).where(*mine, _unused()).returning(image_owners.c.content_hash)
                if (await connection.execute(gone)).first() is None:
                    continue
                collected += 1
                others = select(image_owners.c.tenant_id).where(image_owners.c.content_hash == content_hash).limit(1)
                if (await connection.execute(others)).first() is None:
                    # Bytes first: a failure leaves rows without bytes to no one, and the next sweep tries again.
                    part = select(manifest_parts.c.size_bytes).where(manifest_parts.c.content_hash == content_hash)
                    if (await connection.execute(part.limit(1))).first() is None:
                        await self._objects.delete(content_hash)
                    await connection.execute(delete(images).where(images.c.content_hash == content_hash))
        return collected

    async def sweep(self) -> int:
        """Collects what a gateway that died while deleting a session left behind; returns how many."""
        async with self._database.transaction() as connection:
            query = select(image_owners.c.tenant_id, image_owners.c.content_hash).where(_unused()).limit(_SWEEP_BATCH)
            found = (await connection.execute(query)).all()
        return sum([await self.collect(one.tenant_id, [one.content_hash]) for one in found])


def _owned(tenant_id: str) -> Select[Any]:
    """Pictures of a tenant."""
    owned = image_owners.c.content_hash == images.c.content_hash
    return select(images).join(image_owners, owned).where(image_owners.c.tenant_id == tenant_id)


def _unused() -> ColumnElement[bool]:
    """Ownerships that no session of their tenant needs."""
    tenant = sessions.c.tenant_id == image_owners.c.tenant_id
    made = and_(candidates.c.image_hash == image_owners.c.content_hash, candidates.c.session_id == sessions.c.id)
    return and_(
        image_owners.c.uploaded.is_(False),
        ~exists().where(sessions.c.target_hash == image_owners.c.content_hash, tenant),
        ~exists().where(made, tenant),
    )


async def _mark_uploaded(connection: AsyncConnection, tenant_id: str, content_hash: str) -> None:
    mine = (image_owners.c.tenant_id == tenant_id, image_owners.c.content_hash == content_hash)
    query = update(image_owners).where(*mine, image_owners.c.uploaded.is_(False))
    await connection.execute(query.values(uploaded=True))


async def lock_content(connection: AsyncConnection, content_hash: str, *, shared: bool) -> None:
    """Until the transaction ends, keeps bytes from being collected (shared), or from being used (not shared)."""
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    key = int.from_bytes(bytes.fromhex(content_hash)[:8], "big", signed=True)
    await connection.execute(text(f"SELECT {function}(:key)"), {"key": key})
