"""The log of what administrators did. An entry is written in the transaction of the act: neither is there alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway.access.caller import Caller
from services.gateway.store.database import Database
from services.gateway.store.tables import audit_log


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to which key or tenant, when, and from which address."""

    sequence: int
    create_time: datetime
    key_id: str
    tenant_id: str
    peer: str
    action: str
    subject: str
    detail: Mapping[str, str]


async def record(
    connection: AsyncConnection, caller: Caller, action: str, subject: str, detail: Mapping[str, str]
) -> None:
    """Adds an entry to the transaction."""
    await connection.execute(
        insert(audit_log).values(
            create_time=func.clock_timestamp(),
            key_id=caller.key_id,
            tenant_id=caller.tenant_id,
            peer=caller.peer,
            action=action,
            subject=subject,
            detail=dict(detail),
        )
    )


class AuditRepository:
    """Reads the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_page(self, count: int, before: int | None) -> list[AuditEntry]:
        """At most `count` entries, newest first, older than the one with this sequence."""
        query = select(audit_log).order_by(audit_log.c.sequence.desc()).limit(count)
        if before is not None:
            query = query.where(audit_log.c.sequence < before)
        async with self._database.query() as connection:
            return [AuditEntry(**row) for row in (await connection.execute(query)).mappings()]
