"""Personal metrics: profiles, their versions and rankings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "profiles",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("base_metric", sa.Text, nullable=False),
        sa.Column("parent", sa.Text),
        sa.Column("active_version", sa.Integer, nullable=False),
        sa.Column("version_count", sa.Integer, nullable=False),
        sa.Column("ranking_count", sa.Integer, nullable=False),
        sa.Column("create_time", time, nullable=False),
        sa.Column("update_time", time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_profiles"),
        sa.ForeignKeyConstraint(["parent"], ["profiles.id"], name="fk_profiles_parent"),
    )
    op.create_index("ix_profiles_parent", "profiles", ["parent"])
    op.create_table(
        "profile_versions",
        sa.Column("profile_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("weights", sa.LargeBinary, nullable=False),
        sa.Column("backbone_metric", sa.Text, nullable=False),
        sa.Column("backbone_revision", sa.Text, nullable=False),
        sa.Column("backbone_layers", JSONB, nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("parent_revision", sa.Text, nullable=False),
        sa.Column("report", JSONB),
        sa.Column("create_time", time, nullable=False),
        sa.PrimaryKeyConstraint("profile_id", "number", name="pk_profile_versions"),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profiles.id"], name="fk_profile_versions_profile_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "profile_rankings",
        sa.Column("profile_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("source", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("target_hash", sa.Text, nullable=False),
        sa.Column("picture_hashes", JSONB, nullable=False),
        sa.Column("places", JSONB, nullable=False),
        sa.Column("create_time", time, nullable=False),
        sa.PrimaryKeyConstraint("profile_id", "sequence", name="pk_profile_rankings"),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profiles.id"], name="fk_profile_rankings_profile_id", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "ix_profile_rankings_profile_id_source",
        "profile_rankings",
        ["profile_id", "source"],
        unique=True,
        postgresql_where=sa.text("source <> ''"),
    )


def downgrade() -> None:
    """Removes them, children first."""
    for name in ("profile_rankings", "profile_versions", "profiles"):
        op.drop_table(name)
