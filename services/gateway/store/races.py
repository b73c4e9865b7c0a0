"""Races as callers see them: create, read, list, cancel, delete. Their sessions run under the leases of all others."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import NotFoundError, PreconditionError, Reason
from services.gateway import domain
from services.gateway.profiles.ids import profiles_in
from services.gateway.races.model import Entry, EntryState, Race, RaceState
from services.gateway.store import tables
from services.gateway.store.codec import decode, encode, encode_event
from services.gateway.store.database import Database, now_of
from services.gateway.store.images import ImageRepository
from services.gateway.store.notifications import EVENTS_CHANNEL, LEASES_CHANNEL
from services.gateway.store.profiles import require_profiles
from services.gateway.store.race_rows import read_entries, read_races, select_races
from services.gateway.store.requests import RequestKey, RequestRepository

_entries = tables.race_entries


class RaceRepository:
    """Reads races and stores what people do to them."""

    def __init__(self, database: Database, images: ImageRepository, requests: RequestRepository) -> None:
        self._database = database
        self._images = images
        self._requests = requests

    async def create(self, race: Race, pictures: Mapping[str, bytes], key: RequestKey | None) -> Race:
        """Stores a race with all its sessions, running and leased to nobody: every gateway takes some up.

        Args:
            race: The race; its time is replaced by the database's.
            pictures: Bytes by content hash of the targets that may be new.
            key: Request id; a repeated call returns the race as it was stored.

        Raises:
            NotFoundError: IMAGE_NOT_FOUND, if a stored target was collected meanwhile; PROFILE_NOT_FOUND, for a
                personal metric.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Race, stored)
            await self._require_profiles(connection, race)
            # In one order, so that two races for the same pictures cannot wait for each other.
            for index, target in sorted(enumerate(race.targets), key=lambda one: one[1].image.content_hash):
                address = target.image.content_hash
                if address in pictures:
                    await self._images.keep(connection, race.tenant_id, pictures[address], target.image)
                else:
                    field = f"targets[{index}].image.content_hash"
                    await self._images.hold(connection, race.tenant_id, address, field=field)
            await _insert(connection, race, await now_of(connection))
            created = await _read(connection, race.tenant_id, race.id)
            await self._requests.answer(connection, key, encode(created))
            await connection.execute(select(func.pg_notify(LEASES_CHANNEL, race.id)))
        return created

    async def get(self, tenant_id: str, race_id: str) -> Race:
        """A race. Raises NotFoundError (RACE_NOT_FOUND)."""
        async with self._database.transaction() as connection:
            return await _read(connection, tenant_id, race_id)

    async def get_with_entries(
        self, tenant_id: str, race_id: str, known: Collection[tuple[int, int]] | None = None
    ) -> tuple[Race, list[Entry]]:
        """A race and its entries of one moment; with `known` targets and entrants only those that have ended since.

        Raises:
            NotFoundError: RACE_NOT_FOUND.
        """
        async with self._database.snapshot() as connection:
            race = await _read(connection, tenant_id, race_id)
            return race, await read_entries(connection, race, known)

    async def list_page(self, tenant_id: str, count: int, before: tuple[datetime, str] | None) -> list[Race]:
        """At most `count` races, newest first, older than the one with this create time and id."""
        table = tables.races
        query = select_races(tenant_id).order_by(table.c.create_time.desc(), table.c.id.desc()).limit(count)
        if before is not None:
            query = query.where(tuple_(table.c.create_time, table.c.id) < tuple_(*before))
        async with self._database.transaction() as connection:
            return await read_races(connection, (await connection.execute(query)).mappings().all())

    async def session_ids(self, tenant_id: str, race_id: str) -> list[str]:
        """Sessions of a race that are not deleted. Raises NotFoundError (RACE_NOT_FOUND)."""
        async with self._database.transaction() as connection:
            await _read(connection, tenant_id, race_id)
            return await _session_ids(connection, race_id)

    async def racing_sessions(self, race_id: str) -> list[str]:
        """Sessions whose runs for the race have not ended, paused ones too."""
        async with self._database.transaction() as connection:
            return await _racing_sessions(connection, race_id)

    async def busy_sessions(self, race_id: str) -> list[str]:
        """Sessions of a race in which something runs, also for a person who went on after the race."""
        async with self._database.transaction() as connection:
            table = tables.sessions
            busy = (table.c.id.in_(await _session_ids(connection, race_id)), _is_running())
            return list((await connection.execute(select(table.c.id).where(*busy))).scalars())

    async def request_cancel(self, tenant_id: str, race_id: str, key: RequestKey | None = None) -> Race:
        """Stores that every running session is to stop, which then happens whatever becomes of this gateway.

        Returns:
            The race as it was when this was asked, running; for a repeated call that `cancelled` has answered, the race
            as it ended.

        Raises:
            NotFoundError: RACE_NOT_FOUND.
            PreconditionError: RACE_NOT_RUNNING.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Race, stored)
            await _lock(connection, tenant_id, race_id)
            running = await _racing_sessions(connection, race_id)
            if not running:
                raise PreconditionError(Reason.RACE_NOT_RUNNING, "the race is not running", field="name")
            mine = tables.races.c.id == race_id
            await connection.execute(update(tables.races).where(mine).values(cancel_requested=True))
            table = tables.sessions
            still = and_(table.c.id.in_(running), _is_running())
            # In one order, as everything that locks several sessions.
            locked = select(table.c.id).where(still).order_by(table.c.id).with_for_update()
            found = (await connection.execute(locked)).scalars().all()
            await connection.execute(update(table).where(table.c.id.in_(found)).values(cancel_requested=True))
            asked = await _read(connection, tenant_id, race_id)
            await self._requests.answer(connection, key, encode(asked))
        return asked

    async def cancelled(self, tenant_id: str, race_id: str, key: RequestKey | None) -> Race:
        """The race after the end that `request_cancel` asked for: the same for each call with the same request id.

        Raises:
            NotFoundError: RACE_NOT_FOUND, if it was deleted meanwhile.
        """
        async with self._database.transaction() as connection:
            # Calls with the same id wait for each other here.
            if (stored := await self._requests.reserve(connection, key)) is not None:
                answered = decode(Race, stored)
                if answered.state is not RaceState.RUNNING:
                    return answered
            ended = await _read(connection, tenant_id, race_id)
            await self._requests.answer(connection, key, encode(ended))
        return ended

    async def delete(self, tenant_id: str, race_id: str, key: RequestKey | None = None) -> list[str]:
        """Deletes a race with its sessions.

        Returns:
            Content hashes of the pictures that they referred to, for `ImageRepository.collect`; none for a repeated
            call.

        Raises:
            NotFoundError: RACE_NOT_FOUND.
            PreconditionError: SESSION_BUSY, one of the sessions runs.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if await self._requests.reserve(connection, key) is not None:
                return []
            await _lock(connection, tenant_id, race_id)
            session_ids = await _session_ids(connection, race_id)
            table = tables.sessions
            mine = table.c.id.in_(session_ids)
            locked = select(table.c.state, table.c.target_hash).where(mine).order_by(table.c.id).with_for_update()
            sessions = (await connection.execute(locked)).all()
            if any(one.state == domain.SessionState.RUNNING.value for one in sessions):
                raise PreconditionError(Reason.SESSION_BUSY, "a session of the race is running", field="name")
            await self._requests.answer(connection, key, {"deleted": race_id})
            made = select(tables.candidates.c.image_hash).where(tables.candidates.c.session_id.in_(session_ids))
            hashes = {one for one in (await connection.execute(made)).scalars() if one}
            await connection.execute(delete(table).where(mine))
            await connection.execute(delete(tables.races).where(tables.races.c.id == race_id))
            for one in (race_id, *session_ids):
                await connection.execute(select(func.pg_notify(EVENTS_CHANNEL, one)))
        return sorted(hashes | {one.target_hash for one in sessions})

    async def _require_profiles(self, connection: AsyncConnection, race: Race) -> None:
        for field, metrics in (
            ("metrics", race.metrics),
            *((f"entrants[{i}].selection_metrics", e.settings.selection_metrics) for i, e in enumerate(race.entrants)),
        ):
            if personal := profiles_in(metrics):
                await require_profiles(connection, race.tenant_id, personal, field=field)


async def _read(connection: AsyncConnection, tenant_id: str, race_id: str) -> Race:
    query = select_races(tenant_id).where(tables.races.c.id == race_id)
    rows = (await connection.execute(query)).mappings().all()
    if not rows:
        raise _not_found(race_id)
    (race,) = await read_races(connection, rows)
    return race


async def _lock(connection: AsyncConnection, tenant_id: str, race_id: str) -> None:
    mine = (tables.races.c.id == race_id, tables.races.c.tenant_id == tenant_id)
    if (await connection.execute(select(tables.races.c.id).where(*mine).with_for_update())).first() is None:
        raise _not_found(race_id)


async def _session_ids(connection: AsyncConnection, race_id: str) -> list[str]:
    query = select(_entries.c.session_id).where(_entries.c.race_id == race_id, _entries.c.session_id.is_not(None))
    return list((await connection.execute(query.order_by(_entries.c.session_id))).scalars())


def _is_running() -> ColumnElement[bool]:
    return tables.sessions.c.state == domain.SessionState.RUNNING.value


async def _racing_sessions(connection: AsyncConnection, race_id: str) -> list[str]:
    query = select(_entries.c.session_id).where(
        _entries.c.race_id == race_id,
        _entries.c.session_id.is_not(None),
        _entries.c.state == EntryState.RUNNING.value,
    )
    return list((await connection.execute(query.order_by(_entries.c.session_id))).scalars())


async def _insert(connection: AsyncConnection, race: Race, now: datetime) -> None:
    await connection.execute(
        insert(tables.races).values(
            id=race.id,
            tenant_id=race.tenant_id,
            display_name=race.display_name,
            targets=encode(race.targets),
            entrants=encode(race.entrants),
            metrics=list(race.metrics),
            seed=race.seed,
            create_time=now,
        )
    )
    pairs = [(t, e, uuid.uuid4().hex) for t in range(len(race.targets)) for e in range(len(race.entrants))]
    sessions, events, entries = [], [], []
    for place, (target_index, entrant_index, session_id) in enumerate(pairs):
        # Gateways take up what changed least recently: target by target, so that pairs are complete early.
        time = now + timedelta(microseconds=place)
        sessions.append(_session(race, target_index, entrant_index, session_id, time))
        body = encode_event(domain.StateChanged(domain.SessionState.RUNNING))
        events.append({"session_id": session_id, "sequence": 1, "create_time": time, "body": body})
        entries.append(
            {
                "race_id": race.id,
                "target_index": target_index,
                "entrant_index": entrant_index,
                "session_id": session_id,
                "state": EntryState.RUNNING.value,
            }
        )
    await connection.execute(insert(tables.sessions), sessions)
    await connection.execute(insert(tables.events), events)
    await connection.execute(insert(_entries), entries)


def _session(race: Race, target_index: int, entrant_index: int, session_id: str, time: datetime) -> dict[str, object]:
    """Columns of a session that was created and whose loop was started, with its one event, in one go."""
    target, entrant = race.targets[target_index], race.entrants[entrant_index]
    settings = encode(entrant.settings) | {"seed": race.seed_of(target_index)}
    return {
        "id": session_id,
        "tenant_id": race.tenant_id,
        "display_name": _title(race, target_index, entrant_index),
        "target_hash": target.image.content_hash,
        "settings": settings,
        "state": domain.SessionState.RUNNING.value,
        "last_event_sequence": 1,
        "create_time": time,
        "update_time": time,
        "next_prompt": entrant.loop.first_prompt,
        "run": encode(entrant.loop),
    }


def _title(race: Race, target_index: int, entrant_index: int) -> str:
    """Display name of a session of a race, at most 200 characters."""
    target = race.targets[target_index].display_name or f"target {target_index + 1}"
    return f"{race.entrants[entrant_index].display_name} · {target}"[:200]


def _not_found(race_id: str) -> NotFoundError:
    return NotFoundError(Reason.RACE_NOT_FOUND, "race", f"races/{race_id}", field="name")
