"""Races."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "races",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("targets", JSONB, nullable=False),
        sa.Column("entrants", JSONB, nullable=False),
        sa.Column("metrics", JSONB, nullable=False),
        sa.Column("seed", JSONB, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("create_time", time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_races"),
    )
    op.create_index("ix_races_tenant_id_create_time_id", "races", ["tenant_id", "create_time", "id"])
    op.create_table(
        "race_entries",
        sa.Column("race_id", sa.Text, nullable=False),
        sa.Column("target_index", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("entrant_index", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("session_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("stop_reason", sa.Text),
        sa.Column("error", JSONB),
        sa.Column("round_count", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("seconds", sa.Double),
        sa.Column("end_time", time),
        sa.PrimaryKeyConstraint("race_id", "target_index", "entrant_index", name="pk_race_entries"),
        sa.ForeignKeyConstraint(["race_id"], ["races.id"], name="fk_race_entries_race_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_race_entries_session_id", ondelete="SET NULL"
        ),
    )
    op.create_index("ix_race_entries_session_id", "race_entries", ["session_id"])


def downgrade() -> None:
    """Removes them. Their sessions stay, as sessions of their own."""
    op.drop_table("race_entries")
    op.drop_table("races")
