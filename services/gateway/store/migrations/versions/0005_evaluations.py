"""Evaluations and the results of their items."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("settings", JSONB, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("error", JSONB),
        sa.Column("committed_offset", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("done_count", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("failed_count", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("manifest", JSONB),
        sa.Column("total_count", sa.BigInteger),
        sa.Column("create_time", time, nullable=False),
        sa.Column("update_time", time, nullable=False),
        sa.Column("lease_token", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_expire_time", time),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
    )
    op.create_index("ix_evaluations_tenant_id_create_time_id", "evaluations", ["tenant_id", "create_time", "id"])
    op.create_index(
        "ix_evaluations_jobs",
        "evaluations",
        ["lease_expire_time"],
        postgresql_where=sa.text("source = 'manifest' AND state IN ('pending', 'running')"),
    )
    op.create_table(
        "evaluation_items",
        sa.Column("evaluation_id", sa.Text, nullable=False),
        sa.Column("item_offset", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("group_name", sa.Text, nullable=False),
        sa.Column("system", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("images", JSONB),
        sa.Column("error", JSONB),
        sa.PrimaryKeyConstraint("evaluation_id", "item_offset", name="pk_evaluation_items"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluations.id"], name="fk_evaluation_items_evaluation_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "manifest_parts",
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("use_time", time, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "content_hash", name="pk_manifest_parts"),
    )
    for column in ("content_hash", "use_time"):
        op.create_index(f"ix_manifest_parts_{column}", "manifest_parts", [column])


def downgrade() -> None:
    """Removes them, children first."""
    for name in ("manifest_parts", "evaluation_items", "evaluations"):
        op.drop_table(name)
