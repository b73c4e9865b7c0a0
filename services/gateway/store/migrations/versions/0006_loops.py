"""Paused loops, budgets of seconds, and snapshots in place of old events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS = (
    "run_restart_round",
    "run_seconds",
    "run_start_time",
    "pause_requested",
    "paused",
    "person_prompt",
)


def upgrade() -> None:
    """Adds columns and a table; loops under way count their seconds from here on."""
    for column in (
        sa.Column("run_restart_round", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("run_seconds", sa.Double, nullable=False, server_default=sa.text("0")),
        sa.Column("run_start_time", sa.DateTime(timezone=True)),
        sa.Column("pause_requested", sa.Text),
        sa.Column("paused", JSONB),
        sa.Column("person_prompt", sa.Text, nullable=False, server_default=sa.text("''")),
    ):
        op.add_column("sessions", column)
    op.execute("UPDATE sessions SET run_start_time = now() WHERE state = 'running'")
    op.create_table(
        "session_snapshots",
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("body", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_session_snapshots"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_session_snapshots_session_id", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """Takes them away. Paused loops count as cancelled, and a snapshot's place in the log is taken by its state."""
    op.execute(
        """
        INSERT INTO events (session_id, sequence, create_time, body)
        SELECT session_id, sequence, now(),
               jsonb_build_object('type', 'state_changed', 'state', body -> 'session' -> 'state',
                                  'stop_reason', body -> 'session' -> 'stop_reason',
                                  'error', body -> 'session' -> 'error')
        FROM session_snapshots
        """
    )
    op.drop_table("session_snapshots")
    op.execute(
        """
        UPDATE events SET body = body || '{"state": "cancelled", "stop_reason": "cancelled"}'
        WHERE body ->> 'type' = 'state_changed' AND body ->> 'state' = 'paused'
        """
    )
    op.execute("UPDATE sessions SET state = 'cancelled', stop_reason = 'cancelled' WHERE state = 'paused'")
    for name in _COLUMNS:
        op.drop_column("sessions", name)
