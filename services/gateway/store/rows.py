"""Rows -> domain values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import RowMapping, Select, select

from services.gateway import domain
from services.gateway.store import tables
from services.gateway.store.codec import decode

_IMAGE_COLUMNS = (
    tables.images.c.content_hash,
    tables.images.c.pixel_hash,
    tables.images.c.media_type,
    tables.images.c.width_pixels,
    tables.images.c.height_pixels,
    tables.images.c.size_bytes,
)


def select_sessions() -> Select[Any]:
    """Sessions with their target picture."""
    return select(tables.sessions, *_IMAGE_COLUMNS).join(
        tables.images, tables.images.c.content_hash == tables.sessions.c.target_hash
    )


def select_candidates(session_id: str) -> Select[Any]:
    """Candidates of a session with their pictures, in order."""
    return (
        select(tables.candidates, *_IMAGE_COLUMNS)
        .join(tables.images, tables.images.c.content_hash == tables.candidates.c.image_hash, isouter=True)
        .where(tables.candidates.c.session_id == session_id)
        .order_by(tables.candidates.c.round_number, tables.candidates.c.position)
    )


def image(row: RowMapping) -> domain.ImageInfo:
    """Picture from its columns."""
    return domain.ImageInfo(
        content_hash=row["content_hash"],
        pixel_hash=row["pixel_hash"],
        media_type=row["media_type"],
        width_pixels=row["width_pixels"],
        height_pixels=row["height_pixels"],
        size_bytes=row["size_bytes"],
    )


def session(row: RowMapping) -> domain.Session:
    """Session from a row of `select_sessions`."""
    return domain.Session(
        id=row["id"],
        display_name=row["display_name"],
        target=image(row),
        settings=decode(domain.SessionSettings, row["settings"]),
        state=domain.SessionState(row["state"]),
        create_time=row["create_time"],
        update_time=row["update_time"],
        round_count=row["round_count"],
        best=decode(domain.Candidate, row["best"]) if row["best"] else None,
        tree=decode(domain.Tree, row["tree"]) if row["tree"] else None,
        stop_reason=domain.StopReason(row["stop_reason"]) if row["stop_reason"] else None,
        error=decode(domain.ItemError, row["error"]) if row["error"] else None,
        last_event_sequence=row["last_event_sequence"],
        paused=decode(domain.PausedLoop, row["paused"]) if row["paused"] else None,
        tenant_id=row["tenant_id"],
    )


def candidate(row: RowMapping) -> domain.Candidate:
    """Candidate from a row of `select_candidates`."""
    return domain.Candidate(
        id=row["id"],
        round_number=row["round_number"],
        prompt=row["prompt"],
        origin=row["origin"],
        seed=row["seed"],
        edits=decode(tuple[domain.PromptEdit, ...], row["edits"]),
        noise_mix=decode(tuple[domain.NoisePart, ...], row["noise_mix"]),
        image=image(row) if row["image_hash"] else None,
        record=decode(domain.GenerationRecord, row["record"]) if row["record"] else None,
        scores=decode(tuple[domain.Score, ...], row["scores"]),
        loop_score=row["loop_score"],
        error=decode(domain.ItemError, row["error"]) if row["error"] else None,
    )


def rounds(round_rows: Sequence[RowMapping], candidate_rows: Iterable[RowMapping]) -> tuple[domain.Round, ...]:
    """Rounds with their candidates, both in order."""
    members: defaultdict[int, list[domain.Candidate]] = defaultdict(list)
    for row in candidate_rows:
        members[row["round_number"]].append(candidate(row))
    return tuple(
        domain.Round(
            number=row["number"],
            strategy=row["strategy"],
            aspect=domain.Aspect(row["aspect"]) if row["aspect"] else None,
            base_prompt=row["base_prompt"],
            candidates=tuple(members[row["number"]]),
            create_time=row["create_time"],
            best_candidate_id=row["best_candidate_id"],
            feedback=decode(domain.Feedback, row["feedback"]) if row["feedback"] else None,
            gain=row["gain"],
            finished=row["finished"],
        )
        for row in round_rows
    )
