"""Races and their entries."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Double, ForeignKey, Index, Integer, Table, Text, text

from services.gateway.store.tables._metadata import JSONB, metadata

races = Table(
    "races",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    # RaceTarget, Entrant: read and written whole.
    Column("targets", JSONB, nullable=False),
    Column("entrants", JSONB, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("seed", JSONB, nullable=False),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Index("ix_races_tenant_id_create_time_id", "tenant_id", "create_time", "id"),
)
"""Races. What a race is doing is the sum of its entries; the seed is JSON because it needs 64 unsigned bits."""

race_entries = Table(
    "race_entries",
    metadata,
    Column("race_id", Text, ForeignKey("races.id", ondelete="CASCADE"), primary_key=True),
    Column("target_index", Integer, primary_key=True, autoincrement=False),
    Column("entrant_index", Integer, primary_key=True, autoincrement=False),
    # Empty once the session is deleted: the entry stays, and says so.
    Column("session_id", Text, ForeignKey("sessions.id", ondelete="SET NULL"), index=True),
    # How the run ended that the session was created with; what people do with the session later changes nothing.
    Column("state", Text, nullable=False),
    Column("stop_reason", Text),
    Column("error", JSONB),
    Column("round_count", Integer, nullable=False, server_default=text("0")),
    # That a gateway spent on it.
    Column("seconds", Double),
    Column("end_time", DateTime(timezone=True)),
)
"""One entrant of a race on one target: a session."""
