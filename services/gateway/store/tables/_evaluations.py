"""Evaluations, their results and manifests."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Index, LargeBinary, Table, Text, text

from services.gateway.store.tables._metadata import JSONB, metadata

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
