"""Tables. A change here needs a migration in migrations/versions; a test compares the two."""

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
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB as _JSONB

JSONB = _JSONB(none_as_null=True)
"""None is SQL NULL, never JSON null."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

images = Table(
    "images",
    metadata,
    Column("content_hash", Text, primary_key=True),
    Column("pixel_hash", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("width_pixels", Integer, nullable=False),
    Column("height_pixels", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    # Uploaded by a caller, who may use the hash at any later time: such a picture is never collected.
    Column("uploaded", Boolean, nullable=False, server_default=text("false")),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)
"""Pictures in the object store. Referred to by sessions (target) and candidates."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
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
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    # Lease of the gateway that runs it. Each claim adds one to the token, and a write with an old token is refused.
    Column("lease_owner", Text),
    Column("lease_expire_time", DateTime(timezone=True)),
    Column("lease_token", BigInteger, nullable=False, server_default=text("0")),
    Index("ix_sessions_create_time_id", "create_time", "id"),
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

rankings = Table(
    "rankings",
    metadata,
    Column("session_id", Text, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("candidate_ids", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
"""Rankings under the sequence of their event."""

profiles = Table(
    "profiles",
    metadata,
    Column("id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("base_metric", Text, nullable=False),
    Column("parent", Text, ForeignKey("profiles.id"), index=True),
    Column("active_version", Integer, nullable=False),
    # Counts of what the two tables below hold: pages of profiles need no aggregates.
    Column("version_count", Integer, nullable=False),
    Column("ranking_count", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
)
"""Personal metrics."""

profile_versions = Table(
    "profile_versions",
    metadata,
    Column("profile_id", Text, ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("revision", Text, nullable=False),
    Column("weights", LargeBinary, nullable=False),
    Column("backbone_metric", Text, nullable=False),
    Column("backbone_revision", Text, nullable=False),
    Column("backbone_layers", JSONB, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("parent_revision", Text, nullable=False),
    Column("report", JSONB),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
"""Heads of profiles, never changed; numbers from 1 without gaps, allocated under the profile's row lock."""

profile_rankings = Table(
    "profile_rankings",
    metadata,
    Column("profile_id", Text, ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    # Session that it comes from, which may be gone; empty for pictures outside any session.
    Column("source", Text, nullable=False, server_default=text("''")),
    # Content hashes, marked as uploaded in images: what a profile learned from is never collected.
    Column("target_hash", Text, nullable=False),
    Column("picture_hashes", JSONB, nullable=False),
    Column("places", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Index(
        "ix_profile_rankings_profile_id_source",
        "profile_id",
        "source",
        unique=True,
        postgresql_where=text("source <> ''"),
    ),
)
"""What profiles learn from; a session's newest ranking takes the place of its earlier one."""

requests = Table(
    "requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("answer", JSONB, nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False, index=True),
)
"""Answers of calls with a request_id. They outlive their session, so that a repeated call stays harmless."""
