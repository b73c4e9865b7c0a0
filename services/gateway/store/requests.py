"""Answers of calls with a request_id, stored in the transaction of the call's effect."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import ConflictError, Reason
from services.gateway.store.codec import Json
from services.gateway.store.database import Database
from services.gateway.store.tables import requests


@dataclass(frozen=True)
class RequestKey:
    """A caller's id of a request, the SHA-256 of method and body, and whose it is."""

    request_id: str
    digest: str
    tenant_id: str


class RequestRepository:
    """Stored answers, kept for a fixed time."""

    def __init__(self, database: Database, ttl_seconds: float) -> None:
        self._database = database
        self._ttl = timedelta(seconds=ttl_seconds)

    async def find(self, key: RequestKey | None) -> Json | None:
        """Stored answer of an earlier call; None if there was none.

        Raises:
            ConflictError: REQUEST_ID_REUSED, if the earlier call had another method or body.
        """
        if key is None:
            return None
        async with self._database.transaction() as connection:
            return await _read(connection, key)

    async def reserve(self, connection: AsyncConnection, key: RequestKey | None) -> Json | None:
        """Takes the id in this transaction, or returns the stored answer. A concurrent call with the id waits here."""
        if key is None:
            return None
        expire_time = func.now() + self._ttl
        taken = await connection.execute(
            insert(requests)
            .values(
                tenant_id=key.tenant_id,
                request_id=key.request_id,
                digest=key.digest,
                answer={},
                expire_time=expire_time,
            )
            .on_conflict_do_update(
                index_elements=["tenant_id", "request_id"],
                set_={"digest": key.digest, "answer": {}, "expire_time": expire_time},
                where=requests.c.expire_time < func.now(),
            )
            .returning(requests.c.request_id)
        )
        return None if taken.first() else await _read(connection, key)

    async def answer(self, connection: AsyncConnection, key: RequestKey | None, answer: Json) -> None:
        """Stores the answer under a reserved id."""
        if key is not None:
            await connection.execute(update(requests).where(*_is(key)).values(answer=answer))

    async def purge(self) -> int:
        """Forgets expired answers; returns how many."""
        async with self._database.transaction() as connection:
            result = await connection.execute(delete(requests).where(requests.c.expire_time < func.now()))
            return int(result.rowcount)


async def _read(connection: AsyncConnection, key: RequestKey) -> Json | None:
    query = select(requests.c.digest, requests.c.answer).where(*_is(key), requests.c.expire_time >= func.now())
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    if row.digest != key.digest:
        message = "request_id: this id came before with another method or body; use a fresh UUID"
        raise ConflictError(Reason.REQUEST_ID_REUSED, message, field="request_id")
    return row.answer


def _is(key: RequestKey) -> tuple[ColumnElement[bool], ...]:
    return requests.c.tenant_id == key.tenant_id, requests.c.request_id == key.request_id
