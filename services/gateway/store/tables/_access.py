"""Who may call, how much, and what was done and answered."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from services.gateway.store.tables._metadata import JSONB, metadata

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
