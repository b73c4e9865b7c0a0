"""What must be true of database and object store whenever nothing runs any more."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

_QUERIES = {
    "every session has come to rest": "SELECT id FROM sessions WHERE state = 'running'",
    "no lease is left": "SELECT id FROM sessions WHERE lease_owner IS NOT NULL OR lease_expire_time IS NOT NULL",
    "a session that failed says why": "SELECT id FROM sessions WHERE state = 'failed' AND error->>'reason' IS NULL",
    "events have no gap": """
        SELECT s.id FROM sessions s LEFT JOIN events e ON e.session_id = s.id
        GROUP BY s.id HAVING s.last_event_sequence <> coalesce(max(e.sequence), 0)
        OR count(e.sequence) <> coalesce(max(e.sequence) - min(e.sequence) + 1, 0)""",
    "each thing happened to a candidate once": """
        SELECT session_id FROM events
        WHERE body->>'type' IN ('candidate_generated', 'candidate_scored', 'candidate_failed')
        GROUP BY session_id, body->>'type', body->'candidate'->>'id' HAVING count(*) > 1""",
    "no candidate is there twice": """
        SELECT session_id FROM candidates GROUP BY session_id, round_number, prompt, seed, noise_mix
        HAVING count(*) > 1""",
    "each round is finished once": """
        SELECT session_id FROM events WHERE body->>'type' IN ('round_started', 'round_finished')
        GROUP BY session_id, body->>'type', body->'round'->>'number' HAVING count(*) > 1""",
    "finished rounds have all their candidates, made and scored": """
        SELECT r.session_id FROM rounds r JOIN candidates c ON c.session_id = r.session_id AND c.round_number = r.number
        WHERE r.finished AND c.error IS NULL AND (c.image_hash IS NULL OR c.loop_score IS NULL)""",
    "finished rounds have a best candidate": """
        SELECT session_id FROM rounds WHERE finished AND best_candidate_id = ''""",
    "sessions that succeeded have only finished rounds": """
        SELECT r.session_id FROM rounds r JOIN sessions s ON s.id = r.session_id
        WHERE s.state = 'succeeded' AND NOT r.finished""",
    "a candidate's picture is told by its event": """
        SELECT c.session_id FROM candidates c WHERE c.image_hash IS NOT NULL AND NOT EXISTS (
            SELECT FROM events e WHERE e.session_id = c.session_id AND e.body->>'type' = 'candidate_generated'
            AND e.body->'candidate'->>'id' = c.id)""",
}
"""Queries for what must not be there."""


@dataclass(frozen=True)
class Check:
    """One invariant and what breaks it."""

    name: str
    broken_by: tuple[str, ...]
    """Ids of sessions or content hashes, at most ten."""

    @property
    def holds(self) -> bool:
        """Whether nothing breaks it."""
        return not self.broken_by


@dataclass(frozen=True)
class Audit:
    """All invariants, and how much they were checked on."""

    checks: tuple[Check, ...]
    sessions: int
    events: int
    candidates: int
    images: int
    unknown_objects: int
    """Files in the object store that no row knows: a gateway died between writing a picture and committing its row."""

    @property
    def broken(self) -> list[Check]:
        """Those that do not hold."""
        return [one for one in self.checks if not one.holds]


async def audit(database_url: str, objects: Path) -> Audit:
    """Checks a database and the folder of its object store. Sessions must be at rest."""
    engine = create_async_engine(database_url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            checks = [Check(name, await _column(connection, query)) for name, query in _QUERIES.items()]
            hashes = await _column(connection, "SELECT content_hash FROM images", limit=None)
            sessions, events = await _count(connection, "sessions"), await _count(connection, "events")
            candidates = await _count(connection, "candidates")
    finally:
        await engine.dispose()
    damaged = await asyncio.to_thread(_damaged, hashes, objects)
    checks.append(Check("every picture is in the object store, whole", tuple(damaged[:10])))
    stored = {path.name for path in objects.rglob("*") if path.is_file()}
    return Audit(
        checks=tuple(checks),
        sessions=sessions,
        events=events,
        candidates=candidates,
        images=len(hashes),
        unknown_objects=len(stored - set(hashes)),
    )


async def _column(connection: AsyncConnection, query: str, limit: int | None = 10) -> tuple[str, ...]:
    found = (await connection.execute(text(query))).scalars().all()
    return tuple(str(one) for one in found[:limit])


async def _count(connection: AsyncConnection, table: str) -> int:
    return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


def _damaged(hashes: Sequence[str], objects: Path) -> list[str]:
    found = []
    for one in hashes:
        path = objects / one[:2] / one[2:4] / one
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != one:
            found.append(one)
    return found
