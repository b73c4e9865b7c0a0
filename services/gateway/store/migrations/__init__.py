"""Alembic migrations, run by services.gateway.store.migrate at start."""
