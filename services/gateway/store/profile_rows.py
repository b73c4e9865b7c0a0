"""Profiles and their versions: rows -> values, values -> rows, and how they are read, held and locked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import NotFoundError, Reason
from services.common.heads import Backbone, Head, Recipe
from services.gateway.profiles.model import FitReport, Profile, ProfileVersion
from services.gateway.store.codec import decode, encode
from services.gateway.store.tables import profile_versions, profiles

VERSION_COLUMNS = (
    profile_versions.c.number,
    profile_versions.c.revision,
    profile_versions.c.recipe,
    profile_versions.c.report,
    profile_versions.c.create_time.label("version_create_time"),
)
"""Everything of a version but its weights."""


def select_profiles() -> Select[Any]:
    """Profiles with their active version."""
    return select(profiles, *VERSION_COLUMNS).join(profile_versions, _is_active())


def select_heads() -> Select[Any]:
    """Active heads of profiles."""
    return select(profile_versions).join(profiles, _is_active())


def profile(row: RowMapping) -> Profile:
    """Profile from a row of `select_profiles`."""
    return Profile(
        id=row["id"],
        display_name=row["display_name"],
        base_metric=row["base_metric"],
        parent=row["parent"] or "",
        active=version(row),
        version_count=row["version_count"],
        ranking_count=row["ranking_count"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def version(row: RowMapping) -> ProfileVersion:
    """Version from VERSION_COLUMNS."""
    return ProfileVersion(
        number=row["number"],
        revision=row["revision"],
        recipe=Recipe(row["recipe"]),
        create_time=row["version_create_time"],
        report=decode(FitReport, row["report"]) if row["report"] else None,
    )


def head(row: RowMapping) -> Head:
    """Head from the columns of a version."""
    backbone = Backbone(row["backbone_metric"], row["backbone_revision"], tuple(row["backbone_layers"]))
    return Head(backbone, row["weights"], Recipe(row["recipe"]), row["parent_revision"])


async def insert_version(
    connection: AsyncConnection,
    tenant_id: str,
    profile_id: str,
    number: int,
    create_time: datetime,
    head: Head,
    report: FitReport | None,
) -> None:
    """Stores a version: what it scores by, and how that was found."""
    values = {
        "tenant_id": tenant_id,
        "profile_id": profile_id,
        "number": number,
        "revision": head.revision,
        "weights": head.weights,
        "backbone_metric": head.backbone.metric,
        "backbone_revision": head.backbone.revision,
        "backbone_layers": list(head.backbone.layers),
        "recipe": head.recipe.value,
        "parent_revision": head.parent,
        "report": encode(report),
        "create_time": create_time,
    }
    await connection.execute(insert(profile_versions).values(values))


async def read_profile(
    connection: AsyncConnection, tenant_id: str, profile_id: str, *, field: str = "profile_id"
) -> Profile:
    """A profile. Raises NotFoundError (PROFILE_NOT_FOUND), blamed on `field`."""
    query = select_profiles().where(is_profile(tenant_id, profile_id))
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise profile_not_found(profile_id, field=field)
    return profile(row)


async def read_head(connection: AsyncConnection, tenant_id: str, profile_id: str, *, field: str) -> Head:
    """Active head of a profile. Raises NotFoundError (PROFILE_NOT_FOUND), blamed on `field`."""
    query = select_heads().where(is_profile(tenant_id, profile_id))
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise profile_not_found(profile_id, field=field)
    return head(row)


async def lock_profile(connection: AsyncConnection, tenant_id: str, profile_id: str) -> Profile:
    """A profile that nobody else changes until the transaction ends. Raises NotFoundError (PROFILE_NOT_FOUND)."""
    query = select(profiles.c.id).where(is_profile(tenant_id, profile_id))
    await connection.execute(query.with_for_update())
    # Read by a statement of its own: one that waited for the lock would join the version that was active before.
    return await read_profile(connection, tenant_id, profile_id)


async def hold_head(connection: AsyncConnection, tenant_id: str, profile_id: str, *, field: str) -> Head:
    """As `read_head`, of a profile that cannot be deleted until the transaction ends."""
    query = select(profiles.c.id).where(is_profile(tenant_id, profile_id))
    await connection.execute(query.with_for_update(read=True, key_share=True))
    return await read_head(connection, tenant_id, profile_id, field=field)


def profile_not_found(profile_id: str, *, field: str = "profile_id") -> NotFoundError:
    """The error for a profile id that is not in the database."""
    return NotFoundError(Reason.PROFILE_NOT_FOUND, "profile", profile_id, field=field)


def is_profile(tenant_id: str, profile_id: str) -> ColumnElement[bool]:
    """A tenant's profile of this id."""
    return and_(profiles.c.tenant_id == tenant_id, profiles.c.id == profile_id)


def _is_active() -> ColumnElement[bool]:
    return and_(
        profile_versions.c.tenant_id == profiles.c.tenant_id,
        profile_versions.c.profile_id == profiles.c.id,
        profile_versions.c.number == profiles.c.active_version,
    )
