"""API keys: create, find, list, rotate, revoke. Changes are in the audit log and wake the caches of all gateways."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, RowMapping, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import NotFoundError, PreconditionError, Reason
from services.gateway.access.caller import Caller, Scope
from services.gateway.access.keys import ApiKey, NewKey
from services.gateway.store.audit import record
from services.gateway.store.database import Database
from services.gateway.store.notifications import ACCESS_CHANNEL
from services.gateway.store.tables import api_keys


@dataclass(frozen=True)
class StoredKey:
    """A key with the hash of its secret; `seconds_left` is by the database's clock, None if it does not expire."""

    key: ApiKey
    secret_hash: bytes
    seconds_left: float | None


class KeyRepository:
    """Reads keys and stores what administrators do to them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key_id: str) -> StoredKey | None:
        """A key, working or not; None if there is none of this id."""
        left = func.extract("epoch", api_keys.c.expire_time - func.clock_timestamp()).label("seconds_left")
        async with self._database.query() as connection:
            query = select(api_keys, left).where(api_keys.c.id == key_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            return None
        seconds_left = None if row["seconds_left"] is None else float(row["seconds_left"])
        return StoredKey(_key(row), row["secret_hash"], seconds_left)

    async def create(self, caller: Caller, new: NewKey, tenant_id: str, scope: Scope, display_name: str) -> ApiKey:
        """Stores a new key."""
        async with self._database.transaction() as connection:
            created = await _insert(connection, new, tenant_id, scope, display_name)
            detail = {"tenant_id": tenant_id, "scope": scope.value, "display_name": display_name}
            await record(connection, caller, "keys.create", new.id, detail)
            await _notify(connection, new.id)
        return created

    async def list_page(self, tenant_id: str, count: int, before: tuple[datetime, str] | None) -> list[ApiKey]:
        """At most `count` keys, newest first, older than the one with this create time and id.

        Args:
            tenant_id: Whose keys; "" for everybody's.
            count: Most keys.
            before: Where the page before ended; None for the first.
        """
        query = select(api_keys).order_by(api_keys.c.create_time.desc(), api_keys.c.id.desc()).limit(count)
        if tenant_id:
            query = query.where(api_keys.c.tenant_id == tenant_id)
        if before is not None:
            query = query.where(tuple_(api_keys.c.create_time, api_keys.c.id) < tuple_(*before))
        async with self._database.query() as connection:
            return [_key(row) for row in (await connection.execute(query)).mappings()]

    async def rotate(self, caller: Caller, key_id: str, new: NewKey, grace_seconds: float) -> tuple[ApiKey, ApiKey]:
        """Stores a key in the place of another, which expires after the grace period.

        Returns:
            The new key and the old one.

        Raises:
            NotFoundError: KEY_NOT_FOUND.
            PreconditionError: KEY_NOT_ACTIVE, if it was revoked or rotated before.
        """
        async with self._database.transaction() as connection:
            old = await _lock(connection, key_id)
            if old.revoke_time is not None or old.successor:
                how = "revoked" if old.revoke_time is not None else f"rotated before: {old.successor} took its place"
                raise PreconditionError(Reason.KEY_NOT_ACTIVE, f"key {key_id} was {how}", field="key_id")
            created = await _insert(connection, new, old.tenant_id, old.scope, old.display_name)
            expire_time = func.clock_timestamp() + timedelta(seconds=grace_seconds)
            rotated = await _update(connection, key_id, expire_time=expire_time, successor=new.id)
            detail = {"successor": new.id, "grace_seconds": f"{grace_seconds:g}"}
            await record(connection, caller, "keys.rotate", key_id, detail)
            await _notify(connection, key_id)
        return created, rotated

    async def revoke(self, caller: Caller, key_id: str) -> ApiKey:
        """Ends a key at once; one that is revoked stays as it is. Raises NotFoundError (KEY_NOT_FOUND)."""
        async with self._database.transaction() as connection:
            key = await _lock(connection, key_id)
            if key.revoke_time is not None:
                return key
            revoked = await _update(connection, key_id, revoke_time=func.clock_timestamp())
            await record(connection, caller, "keys.revoke", key_id, {"tenant_id": key.tenant_id})
            await _notify(connection, key_id)
        return revoked

    async def any_admin(self) -> bool:
        """Whether a key of scope admin works."""
        works = or_(api_keys.c.expire_time.is_(None), api_keys.c.expire_time > func.clock_timestamp())
        query = select(api_keys.c.id).where(
            api_keys.c.scope == Scope.ADMIN.value, api_keys.c.revoke_time.is_(None), works
        )
        async with self._database.query() as connection:
            return (await connection.execute(query.limit(1))).first() is not None


async def _insert(connection: AsyncConnection, new: NewKey, tenant_id: str, scope: Scope, display_name: str) -> ApiKey:
    query = insert(api_keys).values(
        id=new.id,
        tenant_id=tenant_id,
        scope=scope.value,
        display_name=display_name,
        secret_hash=new.secret_hash,
        create_time=func.clock_timestamp(),
    )
    return _key((await connection.execute(query.returning(*api_keys.c))).mappings().one())


async def _lock(connection: AsyncConnection, key_id: str) -> ApiKey:
    query = select(api_keys).where(api_keys.c.id == key_id).with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(Reason.KEY_NOT_FOUND, "key", key_id, field="key_id")
    return _key(row)


async def _update(connection: AsyncConnection, key_id: str, **values: ColumnElement[datetime] | str) -> ApiKey:
    query = update(api_keys).where(api_keys.c.id == key_id).values(**values).returning(*api_keys.c)
    return _key((await connection.execute(query)).mappings().one())


async def _notify(connection: AsyncConnection, key_id: str) -> None:
    await connection.execute(select(func.pg_notify(ACCESS_CHANNEL, key_id)))


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(
        id=row["id"],
        tenant_id=row["tenant_id"],
        scope=Scope(row["scope"]),
        display_name=row["display_name"],
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        revoke_time=row["revoke_time"],
        successor=row["successor"] or "",
    )
