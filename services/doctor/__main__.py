"""`python -m services.doctor`: one JSON line a finding. Settings are read as the gateway reads them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from likeness.doctor.findings import Finding, State
from services.cluster.state import Home
from services.common.settings import Settings
from services.doctor.disk import disk
from services.doctor.settings import contradictions, profile, read_settings, unknown_names
from services.doctor.stores import cache, database, migrations, object_store


async def findings() -> AsyncIterator[Finding]:
    """Everything about this machine; settings that cannot be read end it early."""
    for finding in unknown_names(os.environ):
        yield finding
    settings = read_settings()
    if not isinstance(settings, Settings):
        for finding in settings:
            yield finding
        return
    for finding in (*contradictions(settings), *profile(settings), *disk(settings)):
        yield finding
    settings = _of_running_cluster(settings)
    async for finding in _stores(settings):
        yield finding


async def _stores(settings: Settings) -> AsyncIterator[Finding]:
    if settings.database_url is not None:
        answer = await database(settings.database_url)
        yield answer
        if answer.state is State.OK:
            yield await migrations(settings.database_url)
    if settings.redis_url is not None:
        yield await cache(settings.redis_url)
    if settings.object_store_url is not None or settings.home.expanduser().is_dir():
        yield await object_store(settings)


def _of_running_cluster(settings: Settings) -> Settings:
    """With the stores that the embedded cluster has started, where settings name none."""
    state = Home(settings.home).read()
    if state is None or not state.ready:
        return settings
    found = {"database_url": state.database_url, "redis_url": state.redis_url}
    missing = {name: url for name, url in found.items() if url and getattr(settings, name) is None}
    return settings.model_copy(update=missing)


async def _main() -> None:
    async for finding in findings():
        print(finding.line(), flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
