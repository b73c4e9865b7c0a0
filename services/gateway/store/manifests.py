"""Parts of manifests: bytes in the object store under their hash, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import DamagedObjectError, NotFoundError, Reason
from services.common.images import content_hash as hash_of
from services.gateway.ports import ObjectStore
from services.gateway.store.database import Database
from services.gateway.store.images import lock_content
from services.gateway.store.tables import evaluations, images, manifest_parts

KEPT = timedelta(days=7)
"""How long a part stays that nothing needs: time to upload the others, and to evaluate the same manifest again."""
_SWEEP_BATCH = 200


class ManifestRepository:
    """Stores parts, and forgets those that nothing needs any more."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def add_part(self, tenant_id: str, data: bytes) -> str:
        """Stores a part; returns its content hash. The same bytes again are free, and mend what is damaged."""
        content_hash = hash_of(data)
        async with self._database.transaction() as connection:
            # As for pictures: the bytes cannot be collected before the row is committed.
            await lock_content(connection, content_hash, shared=True)
            await self._objects.put(data)
            if await self._is_damaged(connection, content_hash):
                # A store keeps what it has under a hash. Whoever sends the bytes again wants them whole.
                await self._objects.delete(content_hash)
                await self._objects.put(data)
            row = insert(manifest_parts).values(
                tenant_id=tenant_id, content_hash=content_hash, size_bytes=len(data), use_time=func.now()
            )
            row = row.on_conflict_do_update(
                index_elements=["tenant_id", "content_hash"], set_={"use_time": row.excluded.use_time}
            )
            await connection.execute(row)
        return content_hash

    async def use(self, connection: AsyncConnection, tenant_id: str, parts: Sequence[str], *, field: str) -> None:
        """Notes that an evaluation, stored in this transaction, needs parts.

        Raises:
            NotFoundError: MANIFEST_PART_NOT_FOUND, blamed on an entry of `field`.
        """
        mine = (manifest_parts.c.tenant_id == tenant_id, manifest_parts.c.content_hash.in_(set(parts)))
        query = update(manifest_parts).where(*mine).values(use_time=func.now())
        known = set((await connection.execute(query.returning(manifest_parts.c.content_hash))).scalars())
        for index, part in enumerate(parts):
            if part not in known:
                at = f"{field}[{index}]"
                raise NotFoundError(Reason.MANIFEST_PART_NOT_FOUND, "manifest part", part, field=at)

    async def read_part(self, content_hash: str) -> bytes:
        """Bytes of a part that an evaluation names."""
        return await self._objects.get(content_hash)

    async def _is_damaged(self, connection: AsyncConnection, content_hash: str) -> bool:
        query = select(manifest_parts.c.content_hash).where(manifest_parts.c.content_hash == content_hash)
        if (await connection.execute(query.limit(1))).first() is None:
            return False
        try:
            await self._objects.get(content_hash)
        except DamagedObjectError:
            return True
        return False

    async def sweep(self) -> int:
        """Collects parts that nothing has needed for long; returns how many."""
        async with self._database.query() as connection:
            query = select(manifest_parts.c.tenant_id, manifest_parts.c.content_hash).where(_unneeded())
            found = (await connection.execute(query.limit(_SWEEP_BATCH))).all()
        return sum([await self._collect(row.tenant_id, row.content_hash) for row in found])

    async def _collect(self, tenant_id: str, content_hash: str) -> int:
        async with self._database.transaction() as connection:
            await lock_content(connection, content_hash, shared=False)
            mine = (manifest_parts.c.tenant_id == tenant_id, manifest_parts.c.content_hash == content_hash)
            gone = delete(manifest_parts).where(*mine, _unneeded()).returning(manifest_parts.c.content_hash)
            if (await connection.execute(gone)).first() is None:
                return 0
            # The same bytes may be another tenant's, or a picture.
            others = select(manifest_parts.c.tenant_id).where(manifest_parts.c.content_hash == content_hash)
            picture = select(images.c.media_type).where(images.c.content_hash == content_hash)
            if (await connection.execute(others.union_all(picture).limit(1))).first() is None:
                await self._objects.delete(content_hash)
            return 1


def _unneeded() -> ColumnElement[bool]:
    parts = evaluations.c.manifest["parts"].cast(JSONB)
    needed = exists().where(
        evaluations.c.state.in_(("pending", "running")),
        evaluations.c.source == "manifest",
        evaluations.c.tenant_id == manifest_parts.c.tenant_id,
        parts.has_key(manifest_parts.c.content_hash),
    )
    old: ColumnElement[bool] = manifest_parts.c.use_time < func.now() - KEPT
    return old & ~needed
