"""Sessions and all that belongs to one."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from services.gateway.store.tables._metadata import JSONB, metadata

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("target_hash", Text, ForeignKey("images.content_hash"), nullable=False, index=True),
    Column("settings", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("stop_reason", Text),
    Column("error", JSONB),
    Column("round_count", Integer, nullable=False, server_default=text("0")),
    # A copy of the best candidate: scored candidates never change, and lists of sessions need no join.
    Column("best", JSONB),
    Column("tree", JSONB),
    Column("last_event_sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    # Prompt that the next automatic round starts from; empty means the best candidate's, or the tree's.
    Column("next_prompt", Text, nullable=False, server_default=text("''")),
    # What runs, or ran last: LoopSettings and the number of its first round.
    Column("run", JSONB),
    Column("run_first_round", Integer, nullable=False, server_default=text("1")),
    # Unfinished rounds of the run before this one are left as they are: a person took over and said how to go on.
    Column("run_restart_round", Integer, nullable=False, server_default=text("1")),
    # Seconds that the run had spent when it was last begun or resumed, and when that was.
    Column("run_seconds", Double, nullable=False, server_default=text("0")),
    Column("run_start_time", DateTime(timezone=True)),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    # "after_round" or "at_once".
    Column("pause_requested", Text),
    # PausedLoop, from the pause until it is resumed or cancelled.
    Column("paused", JSONB),
    # What the person last said while the loop was paused, as a prompt.
    Column("person_prompt", Text, nullable=False, server_default=text("''")),
    # Lease of the gateway that runs it. Each claim adds one to the token, and a write with an old token is refused.
    Column("lease_owner", Text),
    Column("lease_expire_time", DateTime(timezone=True)),
    Column("lease_token", BigInteger, nullable=False, server_default=text("0")),
    Index("ix_sessions_tenant_id_create_time_id", "tenant_id", "create_time", "id"),
    Index("ix_sessions_running", "lease_expire_time", postgresql_where=text("state = 'running'")),
)

rounds = Table(
    "rounds",
    metadata,
    Column("session_id", Text, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("strategy", Text, nullable=False),
    Column("aspect", Text),
    Column("base_prompt", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("best_candidate_id", Text, nullable=False, server_default=text("''")),
    Column("feedback", JSONB),
    Column("gain", Double),
    Column("finished", Boolean, nullable=False, server_default=text("false")),
)

candidates = Table(
    "candidates",
    metadata,
    Column("session_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("round_number", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("edits", JSONB, nullable=False),
    Column("noise_mix", JSONB, nullable=False, server_default=text("'[]'")),
    Column("image_hash", Text, ForeignKey("images.content_hash"), index=True),
    Column("record", JSONB),
    # All scores of a candidate are written at once and read at once: one value, no table of their own.
    Column("scores", JSONB, nullable=False, server_default=text("'[]'")),
    Column("loop_score", Double),
    Column("error", JSONB),
    ForeignKeyConstraint(["session_id", "round_number"], ["rounds.session_id", "rounds.number"], ondelete="CASCADE"),
    Index("ix_candidates_session_id_round_number_position", "session_id", "round_number", "position", unique=True),
)

events = Table(
    "events",
    metadata,
    Column("session_id", Text, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("body", JSONB, nullable=False),
)
"""The log of a session: sequence from 1 without gaps, allocated under the session's row lock."""

session_snapshots = Table(
    "session_snapshots",
    metadata,
    Column("session_id", Text, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("body", JSONB, nullable=False),
)
"""Sessions as they were at a sequence, in place of the events up to it, which are no longer kept."""

rankings = Table(
    "rankings",
    metadata,
    Column("session_id", Text, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("candidate_ids", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
"""Rankings under the sequence of their event."""
