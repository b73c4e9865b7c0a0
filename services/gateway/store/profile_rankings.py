"""Rankings: those that sessions have, and those that profiles learned from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import NotFoundError, PreconditionError, Reason
from services.gateway.profiles.model import ProfileRanking
from services.gateway.store.tables import candidates, profile_rankings, rankings, sessions


async def read_rankings(connection: AsyncConnection, tenant_id: str, profile_id: str) -> tuple[ProfileRanking, ...]:
    """Rankings of a profile, oldest first."""
    query = select(profile_rankings).where(_of(tenant_id, profile_id))
    found = await connection.execute(query.order_by(profile_rankings.c.sequence))
    return tuple(
        ProfileRanking(row["target_hash"], tuple(row["picture_hashes"]), tuple(row["places"]), row["source"])
        for row in found.mappings()
    )


async def add_rankings(
    connection: AsyncConnection, tenant_id: str, profile_id: str, added: Sequence[ProfileRanking], now: datetime
) -> int:
    """Adds rankings to a profile whose row is locked, each in the place of an earlier one of the same session.

    Returns:
        How many the profile has now.
    """
    table = profile_rankings
    mine, sources = _of(tenant_id, profile_id), [one.source for one in added if one.source]
    await connection.execute(delete(table).where(mine, table.c.source.in_(sources)))
    last = await connection.execute(select(func.coalesce(func.max(table.c.sequence), 0)).where(mine))
    first = last.scalar_one() + 1
    values = [
        {
            "tenant_id": tenant_id,
            "profile_id": profile_id,
            "sequence": first + index,
            "source": one.source,
            "target_hash": one.target,
            "picture_hashes": list(one.pictures),
            "places": list(one.places),
            "create_time": now,
        }
        for index, one in enumerate(added)
    ]
    if values:
        await connection.execute(insert(table), values)
    return int((await connection.execute(select(func.count()).select_from(table).where(mine))).scalar_one())


async def read_session_rankings(
    connection: AsyncConnection, tenant_id: str, session_ids: Sequence[str]
) -> list[ProfileRanking]:
    """Newest ranking of each session, in order.

    Raises:
        NotFoundError: SESSION_NOT_FOUND, blamed on session_ids[i].
        PreconditionError: NO_RANKINGS, a session has none.
    """
    columns = select(sessions.c.id, sessions.c.target_hash)
    columns = columns.where(sessions.c.id.in_(session_ids), sessions.c.tenant_id == tenant_id)
    targets = {row.id: row.target_hash for row in await connection.execute(columns)}
    given = select(rankings.c.session_id, rankings.c.candidate_ids).where(rankings.c.session_id.in_(session_ids))
    # In order, so that the newest of each session is what stays.
    given = given.order_by(rankings.c.sequence)
    orders = {row.session_id: row.candidate_ids for row in await connection.execute(given)}
    members = select(candidates.c.session_id, candidates.c.id, candidates.c.image_hash)
    members = members.where(candidates.c.session_id.in_(session_ids))
    pictures = {(row.session_id, row.id): row.image_hash for row in await connection.execute(members)}
    found = []
    for index, one in enumerate(session_ids):
        field = f"session_ids[{index}]"
        if one not in targets:
            raise NotFoundError(Reason.SESSION_NOT_FOUND, "session", f"sessions/{one}", field=field)
        if one not in orders:
            message = f"{field}: session {one!r} has no ranking; rank its candidates first"
            raise PreconditionError(Reason.NO_RANKINGS, message, field=field)
        order = orders[one]
        places = tuple(float(place) for place in range(1, len(order) + 1))
        found.append(ProfileRanking(targets[one], tuple(pictures[one, id_] for id_ in order), places, one))
    return found


def _of(tenant_id: str, profile_id: str) -> ColumnElement[bool]:
    return and_(profile_rankings.c.tenant_id == tenant_id, profile_rankings.c.profile_id == profile_id)
