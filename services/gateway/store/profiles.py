"""Profiles as callers see them: create, read, list, fit, activate, delete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import ConflictError, NotFoundError, PreconditionError, Reason
from services.common.heads import Head
from services.gateway.profiles.ids import owned_name
from services.gateway.profiles.model import Album, FitDecision, FitReport, Profile, ProfileRanking, ProfileVersion
from services.gateway.store import profile_rows as rows
from services.gateway.store.codec import decode, encode
from services.gateway.store.database import Database, now_of
from services.gateway.store.images import ImageRepository
from services.gateway.store.notifications import PROFILES_CHANNEL
from services.gateway.store.profile_rankings import add_rankings, read_rankings, read_session_rankings
from services.gateway.store.requests import RequestKey, RequestRepository
from services.gateway.store.tables import profile_versions, profiles

MAX_TASTES = 32
_LEARNED = (FitDecision.FITTED.value, FitDecision.FITTED_UNCHECKED.value)


@dataclass(frozen=True)
class FitBasis:
    """What a fit starts from, read at one moment."""

    profile: Profile
    parent: Head | None
    """Active head of its parent; None for a profile that starts from LPIPS."""
    rankings: tuple[ProfileRanking, ...]
    """Rankings that the profile has, oldest first."""
    tastes: tuple[Head, ...]
    """Learned heads of profiles with the same parent, newest first."""


@dataclass(frozen=True)
class Addition:
    """What a fit adds to a profile: rankings, and an album with at least the pictures that came with the request."""

    rankings: tuple[ProfileRanking, ...]
    album: Album

    @property
    def sources(self) -> set[str]:
        """Sessions whose earlier rankings are replaced."""
        return {one.source for one in self.rankings if one.source}

    @property
    def content_hashes(self) -> set[str]:
        """Every picture of the rankings."""
        return {content_hash for one in self.rankings for content_hash in (one.target, *one.pictures)}


class ProfileChangedError(Exception):
    """The profile was fitted, or made anew, since a fit read its basis: what was learned is out of date."""


class ProfileRepository:
    """Reads profiles and stores what people do to them."""

    def __init__(self, database: Database, images: ImageRepository, requests: RequestRepository) -> None:
        self._database = database
        self._images = images
        self._requests = requests

    async def create(
        self,
        tenant_id: str,
        profile_id: str,
        display_name: str,
        parent: str,
        published: Head | None,
        key: RequestKey | None,
    ) -> Profile:
        """Stores a profile, whose version 1 is the parent's active head, or `published` without a parent.

        Raises:
            ConflictError: PROFILE_EXISTS or REQUEST_ID_REUSED.
            NotFoundError: PROFILE_NOT_FOUND, for the parent.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Profile, stored)
            head = published or await rows.hold_head(connection, tenant_id, parent, field="parent")
            now = await now_of(connection)
            created = await connection.execute(
                insert_or_skip(profiles)
                .values(
                    tenant_id=tenant_id,
                    id=profile_id,
                    display_name=display_name,
                    base_metric=head.backbone.metric,
                    parent=parent or None,
                    active_version=1,
                    version_count=1,
                    ranking_count=0,
                    create_time=now,
                    update_time=now,
                )
                .on_conflict_do_nothing()
                .returning(profiles.c.id)
            )
            if created.first() is None:
                message = f"profile_id: profile {profile_id!r} exists already; delete it first, or take another id"
                raise ConflictError(Reason.PROFILE_EXISTS, message, field="profile_id")
            await rows.insert_version(connection, tenant_id, profile_id, 1, now, head, None)
            return await self._answer(connection, tenant_id, profile_id, key)

    async def get(self, tenant_id: str, profile_id: str, *, field: str = "profile_id") -> Profile:
        """A profile. Raises NotFoundError (PROFILE_NOT_FOUND), blamed on `field`."""
        async with self._database.transaction() as connection:
            return await rows.read_profile(connection, tenant_id, profile_id, field=field)

    async def active_head(self, tenant_id: str, profile_id: str, *, field: str) -> Head:
        """Head of a profile's active version. Raises NotFoundError (PROFILE_NOT_FOUND), blamed on `field`."""
        async with self._database.transaction() as connection:
            return await rows.read_head(connection, tenant_id, profile_id, field=field)

    async def list_page(self, tenant_id: str, count: int, after: str) -> list[Profile]:
        """At most `count` profiles by id, behind this id."""
        query = (
            rows.select_profiles()
            .where(profiles.c.tenant_id == tenant_id, profiles.c.id > after)
            .order_by(profiles.c.id)
            .limit(count)
        )
        async with self._database.transaction() as connection:
            return [rows.profile(row) for row in (await connection.execute(query)).mappings()]

    async def list_versions(
        self, tenant_id: str, profile_id: str, count: int, before: int | None
    ) -> list[ProfileVersion]:
        """At most `count` versions, newest first, below this number. Raises NotFoundError (PROFILE_NOT_FOUND)."""
        mine = (profile_versions.c.tenant_id == tenant_id, profile_versions.c.profile_id == profile_id)
        query = select(*rows.VERSION_COLUMNS).where(*mine)
        query = query.order_by(profile_versions.c.number.desc()).limit(count)
        if before is not None:
            query = query.where(profile_versions.c.number < before)
        async with self._database.transaction() as connection:
            await rows.read_profile(connection, tenant_id, profile_id)
            return [rows.version(row) for row in (await connection.execute(query)).mappings()]

    async def basis(self, tenant_id: str, profile_id: str) -> FitBasis:
        """What a fit starts from. Raises NotFoundError (PROFILE_NOT_FOUND)."""
        async with self._database.snapshot() as connection:
            profile = await rows.read_profile(connection, tenant_id, profile_id)
            parent = None
            if profile.parent:
                parent = await rows.read_head(connection, tenant_id, profile.parent, field="profile_id")
            rankings = await read_rankings(connection, tenant_id, profile_id)
            return FitBasis(profile, parent, rankings, await _tastes(connection, tenant_id, profile))

    async def session_rankings(self, tenant_id: str, session_ids: Sequence[str]) -> list[ProfileRanking]:
        """Newest ranking of each session, in order.

        Raises:
            NotFoundError: SESSION_NOT_FOUND, blamed on session_ids[i].
            PreconditionError: NO_RANKINGS, a session has none.
        """
        async with self._database.snapshot() as connection:
            return await read_session_rankings(connection, tenant_id, session_ids)

    async def add_version(
        self, tenant_id: str, basis: FitBasis, added: Addition, head: Head, report: FitReport, key: RequestKey | None
    ) -> Profile:
        """Stores what was learned from the basis and the addition, and scores by it from now on.

        Raises:
            ProfileChangedError: nothing is stored.
            NotFoundError: PROFILE_NOT_FOUND; IMAGE_NOT_FOUND, if a picture was collected meanwhile.
            ConflictError: REQUEST_ID_REUSED.
        """
        profile_id, number = basis.profile.id, basis.profile.version_count + 1
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Profile, stored)
            current = await rows.lock_profile(connection, tenant_id, profile_id)
            if (current.create_time, current.version_count) != (basis.profile.create_time, basis.profile.version_count):
                raise ProfileChangedError(profile_id)
            await self._images.keep_for_good(connection, tenant_id, added.content_hashes, added.album)
            now = await now_of(connection)
            await rows.insert_version(connection, tenant_id, profile_id, number, now, head, report)
            count = await add_rankings(connection, tenant_id, profile_id, added.rankings, now)
            counts = {"active_version": number, "version_count": number, "ranking_count": count}
            await _change(connection, tenant_id, profile_id, **counts)
            return await self._answer(connection, tenant_id, profile_id, key)

    async def activate(self, tenant_id: str, profile_id: str, number: int, key: RequestKey | None) -> Profile:
        """Scores by a stored version from now on.

        Raises:
            NotFoundError: PROFILE_NOT_FOUND or PROFILE_VERSION_NOT_FOUND.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Profile, stored)
            current = await rows.lock_profile(connection, tenant_id, profile_id)
            if not 1 <= number <= current.version_count:
                hint = f"{profile_id!r} has the versions 1 to {current.version_count}"
                kind, reason = "profile version", Reason.PROFILE_VERSION_NOT_FOUND
                raise NotFoundError(reason, kind, str(number), field="version", hint=hint)
            if number != current.active.number:
                await _change(connection, tenant_id, profile_id, active_version=number)
            return await self._answer(connection, tenant_id, profile_id, key)

    async def delete(self, tenant_id: str, profile_id: str, key: RequestKey | None) -> None:
        """Deletes a profile with versions and rankings; an absent one is fine. Its pictures stay, as uploaded ones do.

        Raises:
            PreconditionError: PROFILE_IN_USE, if it is another profile's parent.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if await self._requests.reserve(connection, key) is not None:
                return
            # Locked before its children are looked for: nobody can take it for a parent meanwhile.
            mine = rows.is_profile(tenant_id, profile_id)
            await connection.execute(select(profiles.c.id).where(mine).with_for_update())
            children = select(profiles.c.id).where(profiles.c.tenant_id == tenant_id, profiles.c.parent == profile_id)
            children = children.order_by(profiles.c.id).limit(1)
            child = (await connection.execute(children)).scalar_one_or_none()
            if child is not None:
                message = f"profile {profile_id!r} is the parent of {child!r}; delete that one first"
                raise PreconditionError(Reason.PROFILE_IN_USE, message, field="profile_id")
            await connection.execute(delete(profiles).where(mine))
            await _notify(connection, tenant_id, profile_id)

    async def _answer(
        self, connection: AsyncConnection, tenant_id: str, profile_id: str, key: RequestKey | None
    ) -> Profile:
        profile = await rows.read_profile(connection, tenant_id, profile_id)
        await self._requests.answer(connection, key, encode(profile))
        return profile


async def require_profiles(
    connection: AsyncConnection, tenant_id: str, profile_ids: Iterable[str], *, field: str
) -> None:
    """Raises NotFoundError (PROFILE_NOT_FOUND), blamed on `field`, for the first of these that the tenant lacks."""
    wanted = list(profile_ids)
    found = await connection.execute(
        select(profiles.c.id).where(profiles.c.tenant_id == tenant_id, profiles.c.id.in_(wanted))
    )
    known = set(found.scalars())
    for one in wanted:
        if one not in known:
            raise rows.profile_not_found(one, field=field)


async def _tastes(connection: AsyncConnection, tenant_id: str, profile: Profile) -> tuple[Head, ...]:
    query = rows.select_heads().where(
        profiles.c.tenant_id == tenant_id,
        profiles.c.id != profile.id,
        profiles.c.parent.is_not_distinct_from(profile.parent or None),
        profiles.c.base_metric == profile.base_metric,
        profile_versions.c.report["decision"].astext.in_(_LEARNED),
    )
    query = query.order_by(profile_versions.c.create_time.desc(), profiles.c.id).limit(MAX_TASTES)
    return tuple(rows.head(row) for row in (await connection.execute(query)).mappings())


async def _change(connection: AsyncConnection, tenant_id: str, profile_id: str, **values: int) -> None:
    query = update(profiles).where(rows.is_profile(tenant_id, profile_id))
    await connection.execute(query.values(update_time=func.clock_timestamp(), **values))
    await _notify(connection, tenant_id, profile_id)


async def _notify(connection: AsyncConnection, tenant_id: str, profile_id: str) -> None:
    await connection.execute(select(func.pg_notify(PROFILES_CHANNEL, owned_name(tenant_id, profile_id))))
