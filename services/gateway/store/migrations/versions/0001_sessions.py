"""Sessions, rounds, candidates, events, rankings, pictures and stored answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates every table of the first release."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "images",
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("pixel_hash", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("width_pixels", sa.Integer, nullable=False),
        sa.Column("height_pixels", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("uploaded", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("create_time", time, nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("content_hash", name="pk_images"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("target_hash", sa.Text, nullable=False),
        sa.Column("settings", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("stop_reason", sa.Text),
        sa.Column("error", JSONB),
        sa.Column("round_count", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("best", JSONB),
        sa.Column("tree", JSONB),
        sa.Column("last_event_sequence", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("create_time", time, nullable=False),
        sa.Column("update_time", time, nullable=False),
        sa.Column("next_prompt", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("run", JSONB),
        sa.Column("run_first_round", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_expire_time", time),
        sa.Column("lease_token", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["target_hash"], ["images.content_hash"], name="fk_sessions_target_hash"),
    )
    op.create_index("ix_sessions_target_hash", "sessions", ["target_hash"])
    op.create_index("ix_sessions_create_time_id", "sessions", ["create_time", "id"])
    op.create_index(
        "ix_sessions_running", "sessions", ["lease_expire_time"], postgresql_where=sa.text("state = 'running'")
    )
    op.create_table(
        "rounds",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("aspect", sa.Text),
        sa.Column("base_prompt", sa.Text, nullable=False),
        sa.Column("create_time", time, nullable=False),
        sa.Column("best_candidate_id", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("feedback", JSONB),
        sa.Column("gain", sa.Double),
        sa.Column("finished", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("session_id", "number", name="pk_rounds"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_rounds_session_id", ondelete="CASCADE"),
    )
    op.create_table(
        "candidates",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("round_number", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("edits", JSONB, nullable=False),
        sa.Column("image_hash", sa.Text),
        sa.Column("record", JSONB),
        sa.Column("scores", JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("loop_score", sa.Double),
        sa.Column("error", JSONB),
        sa.PrimaryKeyConstraint("session_id", "id", name="pk_candidates"),
        sa.ForeignKeyConstraint(["image_hash"], ["images.content_hash"], name="fk_candidates_image_hash"),
        sa.ForeignKeyConstraint(
            ["session_id", "round_number"],
            ["rounds.session_id", "rounds.number"],
            name="fk_candidates_session_id_round_number",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_candidates_image_hash", "candidates", ["image_hash"])
    op.create_index(
        "ix_candidates_session_id_round_number_position",
        "candidates",
        ["session_id", "round_number", "position"],
        unique=True,
    )
    op.create_table(
        "events",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("create_time", time, nullable=False),
        sa.Column("body", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "sequence", name="pk_events"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_events_session_id", ondelete="CASCADE"),
    )
    op.create_table(
        "rankings",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("candidate_ids", JSONB, nullable=False),
        sa.Column("create_time", time, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "sequence", name="pk_rankings"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_rankings_session_id", ondelete="CASCADE"),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("answer", JSONB, nullable=False),
        sa.Column("expire_time", time, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_requests"),
    )
    op.create_index("ix_requests_expire_time", "requests", ["expire_time"])


def downgrade() -> None:
    """Removes every table, children first."""
    for name in ("requests", "rankings", "events", "candidates", "rounds", "sessions", "images"):
        op.drop_table(name)
