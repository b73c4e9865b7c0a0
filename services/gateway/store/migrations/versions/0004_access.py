"""Tenants own what is stored; API keys, limits, usage and the audit log.

Everything that was stored before belongs to the tenant "default".
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_OWNED = ("sessions", "profiles", "profile_versions", "profile_rankings", "requests")


def upgrade() -> None:
    """Gives every row to "default", widens the keys of what callers name themselves, and adds the tables of access."""
    for table in _OWNED:
        op.add_column(table, sa.Column("tenant_id", sa.Text, nullable=False, server_default="default"))
        op.alter_column(table, "tenant_id", server_default=None)
    op.drop_index("ix_sessions_create_time_id", "sessions")
    op.create_index("ix_sessions_tenant_id_create_time_id", "sessions", ["tenant_id", "create_time", "id"])
    _replace_key("requests", ["tenant_id", "request_id"])
    _drop_profile_links("parent", "profile_id")
    _replace_key("profiles", ["tenant_id", "id"])
    _replace_key("profile_versions", ["tenant_id", "profile_id", "number"])
    _replace_key("profile_rankings", ["tenant_id", "profile_id", "sequence"])
    _add_profile_links("tenant_id_", ["tenant_id"])
    _own_images()
    _create_access()


def downgrade() -> None:
    """Takes the tenants away again.

    Raises:
        RuntimeError: tenants other than "default" have sessions, profiles or pictures, which a release without tenants
            would show to everybody. Nothing is changed.
    """
    _require_one_tenant()
    for table in ("audit_log", "tenant_usage", "tenant_limits", "api_keys"):
        op.drop_table(table)
    op.add_column("images", sa.Column("uploaded", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.execute(
        "UPDATE images SET uploaded = true FROM image_owners"
        " WHERE image_owners.content_hash = images.content_hash AND image_owners.uploaded"
    )
    op.drop_table("image_owners")
    _drop_profile_links("tenant_id_parent", "tenant_id_profile_id")
    _replace_key("profile_rankings", ["profile_id", "sequence"])
    _replace_key("profile_versions", ["profile_id", "number"])
    _replace_key("profiles", ["id"])
    _replace_key("requests", ["request_id"])
    _add_profile_links("", [])
    op.drop_index("ix_sessions_tenant_id_create_time_id", "sessions")
    op.create_index("ix_sessions_create_time_id", "sessions", ["create_time", "id"])
    for table in _OWNED:
        op.drop_column(table, "tenant_id")


def _own_images() -> None:
    op.create_table(
        "image_owners",
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("uploaded", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("create_time", _TIME, nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("tenant_id", "content_hash", name="pk_image_owners"),
        sa.ForeignKeyConstraint(
            ["content_hash"], ["images.content_hash"], name="fk_image_owners_content_hash", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_image_owners_content_hash", "image_owners", ["content_hash"])
    op.execute(
        "INSERT INTO image_owners (tenant_id, content_hash, uploaded, create_time)"
        " SELECT 'default', content_hash, uploaded, create_time FROM images"
    )
    op.drop_column("images", "uploaded")


def _create_access() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("expire_time", _TIME),
        sa.Column("revoke_time", _TIME),
        sa.Column("successor", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_create_time_id", "api_keys", ["create_time", "id"])
    op.create_table(
        "tenant_limits",
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("requests_per_second", sa.Double),
        sa.Column("concurrent_calls", sa.Integer),
        sa.Column("images_per_day", sa.BigInteger),
        sa.Column("megapixels_per_day", sa.Double),
        sa.Column("update_time", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_tenant_limits"),
    )
    op.create_table(
        "tenant_usage",
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("pixels", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("tenant_id", "day", name="pk_tenant_usage"),
    )
    op.create_table(
        "audit_log",
        sa.Column("sequence", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("create_time", _TIME, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_log"),
    )


def _replace_key(table: str, columns: list[str]) -> None:
    op.drop_constraint(f"pk_{table}", table, type_="primary")
    op.create_primary_key(f"pk_{table}", table, columns)


def _drop_profile_links(parent: str, profile: str) -> None:
    op.drop_index(f"ix_profile_rankings_{profile}_source", "profile_rankings")
    op.drop_index(f"ix_profiles_{parent}", "profiles")
    for table in ("profile_versions", "profile_rankings"):
        op.drop_constraint(f"fk_{table}_{profile}", table, type_="foreignkey")
    op.drop_constraint(f"fk_profiles_{parent}", "profiles", type_="foreignkey")


def _add_profile_links(prefix: str, tenant: list[str]) -> None:
    op.create_foreign_key(f"fk_profiles_{prefix}parent", "profiles", "profiles", [*tenant, "parent"], [*tenant, "id"])
    for table in ("profile_versions", "profile_rankings"):
        op.create_foreign_key(
            f"fk_{table}_{prefix}profile_id",
            table,
            "profiles",
            [*tenant, "profile_id"],
            [*tenant, "id"],
            ondelete="CASCADE",
        )
    op.create_index(f"ix_profiles_{prefix}parent", "profiles", [*tenant, "parent"])
    op.create_index(
        f"ix_profile_rankings_{prefix}profile_id_source",
        "profile_rankings",
        [*tenant, "profile_id", "source"],
        unique=True,
        postgresql_where=sa.text("source <> ''"),
    )


def _require_one_tenant() -> None:
    owned = ("sessions", "profiles", "image_owners")
    union = " UNION ".join(f"SELECT tenant_id FROM {table} WHERE tenant_id <> 'default'" for table in owned)
    others = op.get_bind().execute(sa.text(f"SELECT tenant_id FROM ({union}) AS others ORDER BY 1 LIMIT 5")).scalars()
    if names := ", ".join(others.all()):
        raise RuntimeError(f"tenants other than 'default' have data ({names}); delete it, or restore a backup instead")
    # Answers of calls are kept for a day only; those of other tenants could clash with default's.
    op.execute("DELETE FROM requests WHERE tenant_id <> 'default'")
