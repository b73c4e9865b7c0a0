"""Tables. A change here needs a migration in migrations/versions; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
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
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)
"""Pictures in the object store. Referred to by sessions (target) and candidates."""

image_owners = Table(
    "image_owners",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("content_hash", Text, ForeignKey("images.content_hash", ondelete="CASCADE"), primary_key=True, index=True),
    # Uploaded by a caller, who may use the hash at any later time: such a picture is never collected.
    Column("uploaded", Boolean, nullable=False, server_default=text("false")),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)
"""Whose a picture is: the same bytes may be several tenants', and none learns of another."""

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

profiles = Table(
    "profiles",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("base_metric", Text, nullable=False),
    Column("parent", Text),
    Column("active_version", Integer, nullable=False),
    # Counts of what the two tables below hold: pages of profiles need no aggregates.
    Column("version_count", Integer, nullable=False),
    Column("ranking_count", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    ForeignKeyConstraint(["tenant_id", "parent"], ["profiles.tenant_id", "profiles.id"]),
    Index("ix_profiles_tenant_id_parent", "tenant_id", "parent"),
)
"""Personal metrics. Ids are the callers' own words, so two tenants may have the same."""

profile_versions = Table(
    "profile_versions",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("profile_id", Text, primary_key=True),
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
    ForeignKeyConstraint(["tenant_id", "profile_id"], ["profiles.tenant_id", "profiles.id"], ondelete="CASCADE"),
)
"""Heads of profiles, never changed; numbers from 1 without gaps, allocated under the profile's row lock."""

profile_rankings = Table(
    "profile_rankings",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("profile_id", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    # Session that it comes from, which may be gone; empty for pictures outside any session.
    Column("source", Text, nullable=False, server_default=text("''")),
    # Content hashes, marked as uploaded by the tenant: what a profile learned from is never collected.
    Column("target_hash", Text, nullable=False),
    Column("picture_hashes", JSONB, nullable=False),
    Column("places", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    ForeignKeyConstraint(["tenant_id", "profile_id"], ["profiles.tenant_id", "profiles.id"], ondelete="CASCADE"),
    Index(
        "ix_profile_rankings_tenant_id_profile_id_source",
        "tenant_id",
        "profile_id",
        "source",
        unique=True,
        postgresql_where=text("source <> ''"),
    ),
)
"""What profiles learn from; a session's newest ranking takes the place of its earlier one."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    # SHA-256 of a random secret of 256 bits, which itself is stored nowhere.
    Column("secret_hash", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    # Set when it is rotated: it works until then.
    Column("expire_time", DateTime(timezone=True)),
    Column("revoke_time", DateTime(timezone=True)),
    # Id of the key that took its place.
    Column("successor", Text),
    Index("ix_api_keys_create_time_id", "create_time", "id"),
)
"""API keys; never deleted, so that the audit log's ids stay known."""

tenant_limits = Table(
    "tenant_limits",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    # NULL means the setting's default, 0 no limit.
    Column("requests_per_second", Double),
    Column("concurrent_calls", Integer),
    Column("images_per_day", BigInteger),
    Column("megapixels_per_day", Double),
    Column("update_time", DateTime(timezone=True), nullable=False),
)
"""Limits of tenants that differ from the defaults."""

tenant_usage = Table(
    "tenant_usage",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("images", BigInteger, nullable=False, server_default=text("0")),
    Column("pixels", BigInteger, nullable=False, server_default=text("0")),
)
"""Pictures asked for and pixels made, by day in UTC."""

audit_log = Table(
    "audit_log",
    metadata,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("create_time", DateTime(timezone=True), nullable=False),
    # Who: empty for an operator at the database, or while keys are off.
    Column("key_id", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
)
"""What administrators did, written in the transaction of the act."""

requests = Table(
    "requests",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("answer", JSONB, nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False, index=True),
)
"""Answers of calls with a request_id. They outlive their session, so that a repeated call stays harmless."""

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("error", JSONB),
    # Every item below it is in evaluation_items.
    Column("committed_offset", BigInteger, nullable=False, server_default=text("0")),
    # Counts of evaluation_items: progress needs no aggregates.
    Column("done_count", BigInteger, nullable=False, server_default=text("0")),
    Column("failed_count", BigInteger, nullable=False, server_default=text("0")),
    # What a job reads, and how many items it has; both null for a stream.
    Column("manifest", JSONB),
    Column("total_count", BigInteger),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    # Who works on it: each stream that opens it and each claim of a job adds one to the token, and results that come
    # with an old token are refused.
    Column("lease_token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_owner", Text),
    Column("lease_expire_time", DateTime(timezone=True)),
    Index("ix_evaluations_tenant_id_create_time_id", "tenant_id", "create_time", "id"),
    Index(
        "ix_evaluations_jobs",
        "lease_expire_time",
        postgresql_where=text("source = 'manifest' AND state IN ('pending', 'running')"),
    ),
)
"""Streams and jobs that score many items by the same settings."""

evaluation_items = Table(
    "evaluation_items",
    metadata,
    Column("evaluation_id", Text, ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True),
    Column("item_offset", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("group_name", Text, nullable=False),
    Column("system", Text, nullable=False),
    # SHA-256 of the item as it came: the same offset with another body is refused.
    Column("digest", LargeBinary, nullable=False),
    # "done" or "failed"; an item without a result has no row.
    Column("state", Text, nullable=False),
    Column("images", JSONB),
    Column("error", JSONB),
)
"""Results of items, never changed. Exactly one of images and error is set."""

manifest_parts = Table(
    "manifest_parts",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("content_hash", Text, primary_key=True, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("use_time", DateTime(timezone=True), nullable=False, index=True),
)
"""Parts of manifests in the object store, whose they are, and when an upload or an evaluation last named them."""

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
