"""Limits of tenants, and what they used today: counted in PostgreSQL, so that no restart gives a quota back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import LimitError, Reason
from services.gateway.access.caller import Caller
from services.gateway.access.limits import TenantLimits, TenantUsage
from services.gateway.store.audit import record
from services.gateway.store.database import Database
from services.gateway.store.notifications import ACCESS_CHANNEL
from services.gateway.store.tables import tenant_limits, tenant_usage

PIXELS_PER_MEGAPIXEL = 1_000_000

_LIMITS = (
    tenant_limits.c.requests_per_second,
    tenant_limits.c.concurrent_calls,
    tenant_limits.c.images_per_day,
    tenant_limits.c.megapixels_per_day,
)


class TenantRepository:
    """Limits and usage.

    Args:
        database: Where they are.
        defaults: Limits of tenants that have none of their own.
    """

    def __init__(self, database: Database, defaults: TenantLimits) -> None:
        self._database = database
        self.defaults = defaults

    async def limits(self, tenant_id: str) -> TenantLimits:
        """Limits of a tenant's own."""
        async with self._database.query() as connection:
            return await _limits(connection, tenant_id)

    async def set_limits(self, caller: Caller, tenant_id: str, limits: TenantLimits) -> None:
        """Replaces a tenant's own limits."""
        values: dict[str, Any] = {**asdict(limits), "update_time": func.clock_timestamp()}
        async with self._database.transaction() as connection:
            query = insert(tenant_limits).values(tenant_id=tenant_id, **values)
            await connection.execute(query.on_conflict_do_update(index_elements=["tenant_id"], set_=values))
            detail = {name: f"{value:g}" for name, value in asdict(limits).items() if value is not None}
            await record(connection, caller, "limits.set", tenant_id, detail)
            await connection.execute(select(func.pg_notify(ACCESS_CHANNEL, tenant_id)))

    async def usage(self, tenant_id: str) -> TenantUsage:
        """What a tenant used since midnight, UTC."""
        async with self._database.query() as connection:
            query = select(tenant_usage.c.images, tenant_usage.c.pixels).where(
                tenant_usage.c.tenant_id == tenant_id, tenant_usage.c.day == _today()
            )
            row = (await connection.execute(query)).one_or_none()
        return TenantUsage() if row is None else TenantUsage(row.images, row.pixels)

    async def spend(self, tenant_id: str, images: int) -> None:
        """`spend_in` in a transaction of its own, for work that stores nothing else before it begins."""
        async with self._database.transaction() as connection:
            await self.spend_in(connection, tenant_id, images)

    async def spend_in(self, connection: AsyncConnection, tenant_id: str, images: int) -> None:
        """Counts pictures that are about to be made, in the transaction that begins them.

        Raises:
            LimitError: QUOTA_EXCEEDED, if the day's pictures or pixels do not suffice; nothing is counted.
        """
        used, now = await _add(connection, tenant_id, images=images)
        limits = (await _limits(connection, tenant_id)).over(self.defaults)
        if limits.images_per_day and used.images > limits.images_per_day:
            before = used.images - images
            problem = f"{images} more pictures are over the {limits.images_per_day:,} of a day; {before:,} are used"
            raise _exceeded(tenant_id, problem, now)
        if limits.megapixels_per_day and used.pixels >= limits.megapixels_per_day * PIXELS_PER_MEGAPIXEL:
            raise _exceeded(tenant_id, f"the {limits.megapixels_per_day:g} megapixels of a day are used up", now)

    async def give_back(self, tenant_id: str, images: int) -> None:
        """Takes pictures off the count that were never begun."""
        async with self._database.transaction() as connection:
            await _add(connection, tenant_id, images=-images)

    async def made(self, tenant_id: str, pixels: int) -> None:
        """Counts a picture that was made."""
        async with self._database.transaction() as connection:
            await self.made_in(connection, tenant_id, pixels)

    async def made_in(self, connection: AsyncConnection, tenant_id: str, pixels: int) -> None:
        """Counts a picture that was made, in the transaction that stores it."""
        await _add(connection, tenant_id, pixels=pixels)


async def _limits(connection: AsyncConnection, tenant_id: str) -> TenantLimits:
    query = select(*_LIMITS).where(tenant_limits.c.tenant_id == tenant_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return TenantLimits() if row is None else TenantLimits(**row)


async def _add(
    connection: AsyncConnection, tenant_id: str, *, images: int = 0, pixels: int = 0
) -> tuple[TenantUsage, datetime]:
    """What was used with this, and the database's time. The row stays locked until the transaction ends."""
    table = tenant_usage
    query = insert(table).values(tenant_id=tenant_id, day=_today(), images=images, pixels=pixels)
    more = {"images": table.c.images + images, "pixels": table.c.pixels + pixels}
    query = query.on_conflict_do_update(index_elements=["tenant_id", "day"], set_=more)
    returned = query.returning(table.c.images, table.c.pixels, func.clock_timestamp().label("now"))
    row = (await connection.execute(returned)).one()
    return TenantUsage(row.images, row.pixels), row.now


def _today() -> ColumnElement[Any]:
    # By the database's clock, for gateways whose clocks differ.
    return func.date(func.timezone("UTC", func.clock_timestamp()))


def _exceeded(tenant_id: str, problem: str, now: datetime) -> LimitError:
    day = now.astimezone(UTC).date() + timedelta(days=1)
    midnight = datetime.combine(day, time(), UTC)
    message = f"{problem}; a new day begins at midnight, UTC"
    seconds = (midnight - now).total_seconds()
    return LimitError(Reason.QUOTA_EXCEEDED, message, subject=f"tenant:{tenant_id}", retry_after_seconds=seconds)
