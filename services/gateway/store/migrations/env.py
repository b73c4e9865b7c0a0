"""Alembic's entry: runs on the connection that migrate.py hands over, or prints SQL for a DBA with `--sql`."""

from __future__ import annotations

from alembic import context

from services.gateway.store.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
else:
    context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
