"""Sessions as callers see them: create, read, list, delete, feedback, rankings, the event log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import InvalidInputError, NotFoundError, Reason
from services.gateway import domain
from services.gateway.profiles.ids import profiles_in
from services.gateway.store import race_entries, rows, tables
from services.gateway.store.changes import Change, is_session, owned, session_not_found
from services.gateway.store.codec import decode, decode_event, encode
from services.gateway.store.database import Database, now_of
from services.gateway.store.images import ImageRepository
from services.gateway.store.notifications import EVENTS_CHANNEL
from services.gateway.store.profiles import require_profiles
from services.gateway.store.requests import RequestKey, RequestRepository


@dataclass(frozen=True)
class FullSession:
    """A session with everything in it, read at one moment."""

    session: domain.Session
    rounds: tuple[domain.Round, ...]
    rankings: tuple[domain.Ranking, ...]


@dataclass(frozen=True)
class EventPage:
    """Events after a position, and the session as it was just before they were read."""

    events: tuple[domain.SessionEvent, ...]
    running: bool
    last_sequence: int


@dataclass(frozen=True)
class Revision:
    """What feedback made of a prompt."""

    prompt: str
    edits: tuple[domain.PromptEdit, ...]


class SessionRepository:
    """Reads sessions and stores what people do to them; loops/ writes through RunRepository."""

    def __init__(self, database: Database, images: ImageRepository, requests: RequestRepository) -> None:
        self._database = database
        self._images = images
        self._requests = requests

    async def create(
        self, session: domain.Session, target: bytes | None, key: RequestKey | None = None
    ) -> domain.Session:
        """Stores a session; the times are the database's.

        Args:
            session: The session; its times are replaced.
            target: Bytes of the target, or None if it is stored already.
            key: Request id of the caller; a repeated call returns the session as it was stored.

        Raises:
            NotFoundError: IMAGE_NOT_FOUND, if the stored target was collected meanwhile; PROFILE_NOT_FOUND, for a
                personal metric.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(domain.Session, stored)
            if personal := profiles_in(session.settings.metrics):
                await require_profiles(connection, session.tenant_id, personal, field="settings.metrics")
            if target is not None:
                await self._images.keep(connection, session.tenant_id, target, session.target)
            else:
                await self._images.hold(connection, session.tenant_id, session.target.content_hash)
            now = await now_of(connection)
            await connection.execute(
                insert(tables.sessions).values(
                    id=session.id,
                    tenant_id=session.tenant_id,
                    display_name=session.display_name,
                    target_hash=session.target.content_hash,
                    settings=encode(session.settings),
                    state=session.state.value,
                    create_time=now,
                    update_time=now,
                )
            )
            created = await _read(connection, session.tenant_id, session.id)
            await self._requests.answer(connection, key, encode(created))
        return created

    async def get(self, tenant_id: str, session_id: str) -> domain.Session:
        """A session. Raises NotFoundError (SESSION_NOT_FOUND)."""
        async with self._database.transaction() as connection:
            return await _read(connection, tenant_id, session_id)

    async def get_full(self, tenant_id: str, session_id: str) -> FullSession:
        """A session with rounds and rankings of one moment. Raises NotFoundError (SESSION_NOT_FOUND)."""
        async with self._database.snapshot() as connection:
            session = await _read(connection, tenant_id, session_id)
            rounds = await read_rounds(connection, session_id)
            query = select(tables.rankings).where(tables.rankings.c.session_id == session_id)
            found = (await connection.execute(query.order_by(tables.rankings.c.sequence))).mappings()
            rankings = tuple(domain.Ranking(tuple(row["candidate_ids"]), row["create_time"]) for row in found)
        return FullSession(session, rounds, rankings)

    async def list_page(self, tenant_id: str, count: int, before: tuple[datetime, str] | None) -> list[domain.Session]:
        """At most `count` sessions, newest first, older than the one with this create time and id."""
        table = tables.sessions
        query = rows.select_sessions().where(table.c.tenant_id == tenant_id)
        query = query.order_by(table.c.create_time.desc(), table.c.id.desc()).limit(count)
        if before is not None:
            query = query.where(tuple_(table.c.create_time, table.c.id) < tuple_(*before))
        async with self._database.transaction() as connection:
            return [rows.session(row) for row in (await connection.execute(query)).mappings()]

    async def delete(self, tenant_id: str, session_id: str, key: RequestKey | None = None) -> list[str]:
        """Deletes a session.

        Returns:
            Content hashes of the pictures it referred to, for `ImageRepository.collect`; none for a repeated call.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            PreconditionError: SESSION_BUSY.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if await self._requests.reserve(connection, key) is not None:
                return []
            async with owned(connection, tenant_id, session_id) as change:
                change.require_idle()
                await self._requests.answer(connection, key, {"deleted": session_id})
                return await self.delete_locked(change)

    async def delete_locked(self, change: Change) -> list[str]:
        """Deletes a locked session; returns as `delete`."""
        connection, session_id = change.connection, change.session.id
        query = select(tables.candidates.c.image_hash).where(tables.candidates.c.session_id == session_id)
        hashes = [one for one in (await connection.execute(query)).scalars() if one]
        await race_entries.deleted(connection, session_id, now=change.now)
        await connection.execute(delete(tables.sessions).where(tables.sessions.c.id == session_id))
        await connection.execute(select(func.pg_notify(EVENTS_CHANNEL, session_id)))
        return [change.session.target.content_hash, *hashes]

    async def add_feedback(
        self, tenant_id: str, session_id: str, feedback: domain.Feedback, revision: Revision, key: RequestKey | None
    ) -> Revision:
        """Records feedback; the revised prompt is what the next loop starts from.

        Raises:
            NotFoundError: SESSION_NOT_FOUND.
            PreconditionError: SESSION_BUSY.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Revision, stored)
            async with owned(connection, tenant_id, session_id) as change:
                change.require_idle()
                change.set(next_prompt=revision.prompt or change.row["next_prompt"])
                if change.session.paused is not None and revision.prompt:
                    change.set(person_prompt=revision.prompt)
                change.emit(domain.FeedbackGiven(feedback, revision.prompt))
            await self._requests.answer(connection, key, encode(revision))
        return revision

    async def add_ranking(
        self, tenant_id: str, session_id: str, candidate_ids: Sequence[str], key: RequestKey | None
    ) -> domain.Ranking:
        """Records an order of candidates.

        Raises:
            NotFoundError: SESSION_NOT_FOUND, or CANDIDATE_NOT_FOUND for an id that is not one of the session's.
            InvalidInputError: a candidate has no picture.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(domain.Ranking, stored)
            async with owned(connection, tenant_id, session_id) as change:
                await _require_candidates(connection, session_id, candidate_ids)
                ranking = domain.Ranking(tuple(candidate_ids), change.now)
                await _insert_ranking(change, ranking)
            await self._requests.answer(connection, key, encode(ranking))
        return ranking

    async def events_after(self, tenant_id: str, session_id: str, sequence: int, limit: int) -> EventPage:
        """At most `limit` events after a position, in order. Raises NotFoundError (SESSION_NOT_FOUND)."""
        columns = (tables.sessions.c.state, tables.sessions.c.last_event_sequence)
        async with self._database.transaction() as connection:
            # The state is read first: events that it does not know yet can only be newer, never missing.
            query = select(*columns).where(is_session(tenant_id, session_id))
            state = (await connection.execute(query)).one_or_none()
            if state is None:
                raise session_not_found(session_id)
            table = tables.events
            later = select(table).where(table.c.session_id == session_id, table.c.sequence > sequence)
            found = (await connection.execute(later.order_by(table.c.sequence).limit(limit))).mappings().all()
        events = tuple(
            domain.SessionEvent(session_id, row["sequence"], row["create_time"], decode_event(row["body"]))
            for row in found
        )
        return EventPage(events, state.state == domain.SessionState.RUNNING, state.last_event_sequence)


async def read_rounds(connection: AsyncConnection, session_id: str) -> tuple[domain.Round, ...]:
    """Rounds of a session with their candidates."""
    query = select(tables.rounds).where(tables.rounds.c.session_id == session_id).order_by(tables.rounds.c.number)
    round_rows = (await connection.execute(query)).mappings().all()
    candidate_rows = (await connection.execute(rows.select_candidates(session_id))).mappings().all()
    return rows.rounds(round_rows, candidate_rows)


async def _read(connection: AsyncConnection, tenant_id: str, session_id: str) -> domain.Session:
    query = rows.select_sessions().where(is_session(tenant_id, session_id))
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise session_not_found(session_id)
    return rows.session(row)


async def _require_candidates(connection: AsyncConnection, session_id: str, candidate_ids: Sequence[str]) -> None:
    columns = tables.candidates.c
    query = select(columns.id, columns.image_hash).where(columns.session_id == session_id)
    known = {row.id: row.image_hash for row in await connection.execute(query)}
    for one in candidate_ids:
        if one not in known:
            raise NotFoundError(Reason.CANDIDATE_NOT_FOUND, "candidate", one, field="candidate_ids")
        if known[one] is None:
            raise InvalidInputError("candidate_ids", f"{one} has no picture", allowed="candidates with a picture")


async def _insert_ranking(change: Change, ranking: domain.Ranking) -> None:
    event = change.emit(domain.CandidatesRanked(ranking))
    await change.connection.execute(
        insert(tables.rankings).values(
            session_id=change.session.id,
            sequence=event.sequence,
            candidate_ids=list(ranking.candidate_ids),
            create_time=ranking.create_time,
        )
    )
