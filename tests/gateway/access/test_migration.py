"""Migration 0004 with rows of the release before: all of it becomes the default tenant's, and goes back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from services.gateway.store.migrate import downgrade, migrate

pytestmark = pytest.mark.integration

ROWS = """
INSERT INTO images (content_hash, pixel_hash, media_type, width_pixels, height_pixels, size_bytes, uploaded)
  VALUES ('a', 'pa', 'image/png', 8, 8, 10, true), ('b', 'pb', 'image/png', 8, 8, 10, false);
INSERT INTO sessions (id, display_name, target_hash, settings, state, create_time, update_time)
  VALUES ('s1', 'old', 'b', '{}', 'waiting', now(), now());
INSERT INTO profiles (id, display_name, base_metric, parent, active_version, version_count, ranking_count,
    create_time, update_time)
  VALUES ('crowd', '', 'lpips', NULL, 1, 1, 0, now(), now()), ('ann', '', 'lpips', 'crowd', 1, 1, 1, now(), now());
INSERT INTO profile_versions (profile_id, number, revision, weights, backbone_metric, backbone_revision,
    backbone_layers, recipe, parent_revision, create_time)
  SELECT id, 1, 'r', '\\x00', 'lpips', 'b', '[3]', 'published', '', now() FROM profiles;
INSERT INTO profile_rankings (profile_id, sequence, source, target_hash, picture_hashes, places, create_time)
  VALUES ('ann', 1, 's1', 'a', '["b", "a"]', '[1, 2]', now());
INSERT INTO requests (request_id, digest, answer, expire_time) VALUES ('q1', 'd', '{}', now() + interval '1 day');
"""
WHAT = ("sessions", "profiles", "profile_versions", "profile_rankings", "requests")


@pytest.fixture(autouse=True)
async def empty(empty_database_url: str) -> None:
    """Nothing is left of the test before."""
    await Store(empty_database_url).run("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


class Store:
    """The database, asked in SQL."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def run(self, *statements: str) -> list[dict[str, Any]]:
        """Rows of the last statement."""
        engine = create_async_engine(self.url, poolclass=NullPool)
        found: list[dict[str, Any]] = []
        async with engine.begin() as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
                found = [dict(row) for row in result.mappings()] if result.returns_rows else []
        await engine.dispose()
        return found


async def test_forward_and_back_with_data(empty_database_url: str) -> None:
    store = Store(empty_database_url)
    await migrate(empty_database_url, "0003")
    await store.run(*(one for one in ROWS.split(";") if one.strip()))
    before = {table: await store.run(f"SELECT * FROM {table} ORDER BY 1") for table in (*WHAT, "images")}
    await migrate(empty_database_url, "0004")
    for table in WHAT:
        tenants = await store.run(f"SELECT tenant_id FROM {table}")
        assert len(tenants) == len(before[table]) and {one["tenant_id"] for one in tenants} == {"default"}
    owners = await store.run("SELECT tenant_id, content_hash, uploaded FROM image_owners ORDER BY 2")
    assert [tuple(one.values()) for one in owners] == [("default", "a", True), ("default", "b", False)]
    # Two tenants may now say the same words; answers of calls live for a day, and go with their tenants.
    await store.run(
        "INSERT INTO requests (tenant_id, request_id, digest, answer, expire_time)"
        " SELECT 'acme', request_id, digest, answer, expire_time FROM requests"
    )
    await downgrade(empty_database_url, "0003")
    for table, rows in before.items():
        assert await store.run(f"SELECT * FROM {table} ORDER BY 1") == rows, table
    with pytest.raises(Exception, match="fk_profiles_parent"):
        await store.run("DELETE FROM profiles WHERE id = 'crowd'")


async def test_tenants_are_not_thrown_together_on_the_way_back(empty_database_url: str) -> None:
    store = Store(empty_database_url)
    await migrate(empty_database_url, "0004")
    await store.run(
        "INSERT INTO images (content_hash, pixel_hash, media_type, width_pixels, height_pixels, size_bytes)"
        " VALUES ('z', 'z', 'image/png', 8, 8, 10)",
        "INSERT INTO image_owners (tenant_id, content_hash) VALUES ('acme', 'z')",
    )
    with pytest.raises(RuntimeError, match="acme"):
        await downgrade(empty_database_url, "0003")
    assert (await store.run("SELECT version_num FROM alembic_version")) == [{"version_num": "0004"}]
    assert (await store.run("SELECT tenant_id FROM image_owners")) == [{"tenant_id": "acme"}]
