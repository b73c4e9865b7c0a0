"""Rows of races -> their values, with one query for each kind of thing however many sessions race."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, RowMapping, case, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway.domain import ItemError, StopReason
from services.gateway.races.model import Entrant, Entry, EntryState, Judgement, Progress, Race, RaceTarget, RoundBest
from services.gateway.store.codec import decode
from services.gateway.store.tables import candidates, race_entries, races, rounds

_RUNNING = EntryState.RUNNING.value


async def read_races(connection: AsyncConnection, rows: Sequence[RowMapping]) -> list[Race]:
    """Races of rows of their table, with their progress."""
    progress, ends = await _progress(connection, [row["id"] for row in rows])
    return [_race(row, progress[row["id"]], ends.get(row["id"])) for row in rows]


async def read_entries(
    connection: AsyncConnection, race: Race, known: Collection[tuple[int, int]] | None = None
) -> list[Entry]:
    """Entries in order; with `known` targets and entrants only those that have ended since."""
    query = select(race_entries).where(race_entries.c.race_id == race.id)
    query = query.order_by(race_entries.c.target_index, race_entries.c.entrant_index)
    rows = (await connection.execute(query)).mappings().all()
    if known is not None:
        rows = [row for row in rows if _has_ended(row) and (row["target_index"], row["entrant_index"]) not in known]
    session_ids = [row["session_id"] for row in rows if row["session_id"]]
    bests = await _bests(connection, race, session_ids)
    images = await _images(connection, session_ids)
    return [_entry(row, bests.get(row["session_id"], []), images.get(row["session_id"], 0)) for row in rows]


def _has_ended(row: RowMapping) -> bool:
    return row["state"] != _RUNNING or row["session_id"] is None


def _race(row: RowMapping, progress: Mapping[int, Progress], end_time: datetime | None) -> Race:
    entrants = decode(tuple[Entrant, ...], row["entrants"])
    return Race(
        id=row["id"],
        tenant_id=row["tenant_id"],
        display_name=row["display_name"],
        targets=decode(tuple[RaceTarget, ...], row["targets"]),
        entrants=entrants,
        metrics=tuple(row["metrics"]),
        seed=row["seed"],
        create_time=row["create_time"],
        progress=tuple(progress[index] for index in range(len(entrants))),
        cancel_requested=row["cancel_requested"],
        end_time=end_time,
    )


def _entry(row: RowMapping, bests: Sequence[tuple[int, RoundBest]], images: int) -> Entry:
    deleted = row["session_id"] is None
    # Rounds that came after the end are a person's, who went on with the session.
    within = [one for number, one in bests if row["end_time"] is None or number <= row["round_count"]]
    return Entry(
        target_index=row["target_index"],
        entrant_index=row["entrant_index"],
        session_id=row["session_id"] or "",
        state=EntryState.DELETED if deleted else EntryState(row["state"]),
        stop_reason=StopReason(row["stop_reason"]) if row["stop_reason"] else None,
        error=decode(ItemError, row["error"]) if row["error"] else None,
        image_count=images,
        seconds=row["seconds"],
        rounds=tuple(within),
    )


async def _progress(
    connection: AsyncConnection, race_ids: Sequence[str]
) -> tuple[dict[str, defaultdict[int, Progress]], dict[str, datetime]]:
    """Progress by race and entrant, and ends of the races that have one."""
    entries = race_entries.c
    state = case((entries.session_id.is_(None), EntryState.DELETED.value), else_=entries.state)
    query = (
        select(entries.race_id, entries.entrant_index, state.label("state"), func.count(), func.max(entries.end_time))
        .where(entries.race_id.in_(race_ids))
        .group_by(entries.race_id, entries.entrant_index, state)
    )
    counts: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    ends: defaultdict[str, list[datetime]] = defaultdict(list)
    running = set()
    for race_id, entrant, name, count, end in await connection.execute(query):
        counts[race_id, entrant][name] = count
        if name == _RUNNING:
            running.add(race_id)
        elif end is not None:
            ends[race_id].append(end)
    done = {(row.race_id, row.entrant_index): row.done for row in await _done_rounds(connection, race_ids)}
    made = {(row.race_id, row.entrant_index): row.made for row in await _made_images(connection, race_ids)}
    found: dict[str, defaultdict[int, Progress]] = {race_id: defaultdict(Progress) for race_id in race_ids}
    for key, by_state in counts.items():
        race_id, entrant = key
        found[race_id][entrant] = Progress(**by_state, finished_rounds=done.get(key, 0), images=made.get(key, 0))
    return found, {race_id: max(times) for race_id, times in ends.items() if race_id not in running}


async def _done_rounds(connection: AsyncConnection, race_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """Finished rounds by race and entrant, those after the end left out."""
    query = (
        select(race_entries.c.race_id, race_entries.c.entrant_index, func.count().label("done"))
        .join(rounds, rounds.c.session_id == race_entries.c.session_id)
        .where(race_entries.c.race_id.in_(race_ids), rounds.c.finished, _raced(rounds.c.number))
        .group_by(race_entries.c.race_id, race_entries.c.entrant_index)
    )
    return (await connection.execute(query)).all()


async def _made_images(connection: AsyncConnection, race_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """Pictures by race and entrant, those after the end left out."""
    query = (
        select(race_entries.c.race_id, race_entries.c.entrant_index, func.count(candidates.c.image_hash).label("made"))
        .join(candidates, candidates.c.session_id == race_entries.c.session_id)
        .where(race_entries.c.race_id.in_(race_ids), _raced(candidates.c.round_number))
        .group_by(race_entries.c.race_id, race_entries.c.entrant_index)
    )
    return (await connection.execute(query)).all()


async def _images(connection: AsyncConnection, session_ids: Sequence[str]) -> dict[str, int]:
    """Pictures by session, those after the end left out."""
    query = (
        select(candidates.c.session_id, func.count(candidates.c.image_hash))
        .join(race_entries, race_entries.c.session_id == candidates.c.session_id)
        .where(candidates.c.session_id.in_(session_ids), _raced(candidates.c.round_number))
        .group_by(candidates.c.session_id)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def _bests(
    connection: AsyncConnection, race: Race, session_ids: Sequence[str]
) -> dict[str, list[tuple[int, RoundBest]]]:
    """Number and best candidate of every finished round, by session, in order."""
    columns = candidates.c
    query = (
        select(
            columns.session_id, columns.round_number, columns.id, columns.image_hash, columns.loop_score, columns.scores
        )
        .ext(distinct_on(columns.session_id, columns.round_number))
        .join(rounds, (rounds.c.session_id == columns.session_id) & (rounds.c.number == columns.round_number))
        .where(columns.session_id.in_(session_ids), columns.loop_score.is_not(None), rounds.c.finished)
        # The first of equals, as the loop chooses.
        .order_by(columns.session_id, columns.round_number, columns.loop_score.desc(), columns.position)
    )
    found: defaultdict[str, list[tuple[int, RoundBest]]] = defaultdict(list)
    for row in await connection.execute(query):
        best = RoundBest(row.id, row.image_hash or "", row.loop_score, _judgements(row.scores, race.metrics))
        found[row.session_id].append((row.round_number, best))
    return found


def _judgements(scores: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, Judgement]:
    """The race's metrics among stored scores. Read by hand: a race has many, most of whose fields nobody asks for."""
    found = {
        one["metric"]: Judgement(float(one["raw"]), float(one["normalized"]))
        for one in scores
        if one["metric"] in metrics and one.get("error") is None
    }
    return {metric: one for metric, one in found.items() if math.isfinite(one.normalized)}


def _raced(number: Any) -> Any:
    return race_entries.c.end_time.is_(None) | (number <= race_entries.c.round_count)


def select_races(tenant_id: str) -> Any:
    """A tenant's races."""
    return select(races).where(races.c.tenant_id == tenant_id)
