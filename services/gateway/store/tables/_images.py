"""Pictures and whose they are."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, ForeignKey, Integer, Table, Text, text

from services.gateway.store.tables._metadata import metadata

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
