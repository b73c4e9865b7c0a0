"""Noises that a candidate's initial noise is a mix of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; candidates made before start from their own seed's noise."""
    op.add_column("candidates", sa.Column("noise_mix", JSONB, nullable=False, server_default=sa.text("'[]'")))


def downgrade() -> None:
    """Drops it."""
    op.drop_column("candidates", "noise_mix")
