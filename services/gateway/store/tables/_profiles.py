"""Personal metrics."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from services.gateway.store.tables._metadata import JSONB, metadata

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
