"""What the gateway and its stores spend on a picture, and how many events PostgreSQL takes: measured, by the real code.

    python -m capacity.stores [--seconds 20]

Loops through a real gateway, PostgreSQL and Redis, with light backends (`reliability/light`) that cost next to nothing;
then events alone, written as sessions write them, by more and more writers, as they are and without their
notifications; then embeddings kept and found in Redis. The results go to capacity/results/stores.json.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import psutil
from redis.asyncio import Redis
from rich.console import Console
from sqlalchemy import text

from capacity.results import machine, write
from likeness import AsyncClient
from reliability.deployment import Deployment, deployed
from reliability.light.pictures import paint
from services.cluster.redis_server import RedisServer
from services.gateway import domain
from services.gateway.access.caller import DEFAULT_TENANT
from services.gateway.cache import VectorCache
from services.gateway.cache_keys import EmbeddingKey
from services.gateway.objects import open_object_store
from services.gateway.ports import EmbeddingVector
from services.gateway.store.database import Database
from services.gateway.store.images import ImageRepository
from services.gateway.store.requests import RequestRepository
from services.gateway.store.sessions import Revision, SessionRepository

CLIENTS, ROUNDS, CANDIDATES = 8, 2, 4
WRITERS = (1, 4, 16)
EMBEDDING_BYTES = 768 * 4
"""CLIP ViT-L/14, float32."""
SLOW_FLUSH_MS = 100
"""That every commit waits longer than the disk, in one measurement."""
_SLOW_DISK = (
    f"ALTER DATABASE likeness SET commit_delay = {1000 * SLOW_FLUSH_MS}",
    "ALTER DATABASE likeness SET commit_siblings = 0",
)
_USUAL_DISK = ("ALTER DATABASE likeness RESET commit_delay", "ALTER DATABASE likeness RESET commit_siblings")
# In front of PostgreSQL's own function of that name, for as long as it is there.
_SILENCE = (
    "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''",
    "ALTER DATABASE likeness SET search_path = public, pg_catalog",
)


console = Console()


def main() -> None:
    """Measures all of it and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    options = parser.parse_args()
    results = asyncio.run(measure(options.seconds))
    write("stores", results)


async def measure(seconds: float) -> dict[str, Any]:
    """All measurements, each of so many seconds."""
    async with deployed() as deployment:
        console.print(loops := await of_loops(deployment, seconds))
        events = []
        async with _connection(deployment) as run:
            for notifying in (True, False):
                if not notifying:
                    await _all(run, _SILENCE)
                for writers in WRITERS:
                    events.append(await of_events(deployment, writers, seconds / 4, notifying=notifying))
                    console.print(events[-1])
                # A slow disk tells what waits for the disk and what for a processor, on a busy machine too.
                await _all(run, _SLOW_DISK)
                slow = await of_events(deployment, WRITERS[-1], seconds / 2, notifying=notifying)
                events.append(slow | {"flush_ms": SLOW_FLUSH_MS})
                console.print(events[-1])
                await _all(run, _USUAL_DISK)
        console.print(cache := await of_cache(deployment, seconds / 4))
    return {"loops": loops, "events": events, "cache": cache, "machine": machine()}


async def of_loops(deployment: Deployment, seconds: float) -> dict[str, float]:
    """What a picture of a loop costs gateway, PostgreSQL and Redis."""
    parts = {
        "gateway": deployment.gateways[0].process,
        "postgres": deployment.parts["postgres"].process,
        "redis": deployment.parts["redis"].process,
    }
    async with _connection(deployment) as run, AsyncClient(deployment.address()) as client:
        await _loops(client, 3.0)

        async def counts() -> dict[str, float]:
            sql = "SELECT (SELECT count(*) FROM candidates WHERE loop_score IS NOT NULL), (SELECT count(*) FROM events)"
            sql += ", (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())"
            sql += ", pg_current_wal_lsn() - '0/0'::pg_lsn, pg_database_size(current_database())"
            row = await run(sql)
            names = ("pictures", "events", "commits", "wal_bytes", "database_bytes")
            used = {f"{name}_cpu_seconds": cpu_of(part.pid) for name, part in parts.items() if part is not None}
            return dict(zip(names, map(float, row), strict=True)) | used | await _redis_counts(deployment)

        before, began = await counts(), time.monotonic()
        await _loops(client, seconds)
        after, spent = await counts(), time.monotonic() - began
    used = {name: after[name] - before[name] for name in after}
    pictures = used.pop("pictures")
    row = {f"{name}_a_picture": round(value / pictures, 6) for name, value in used.items()}
    return {"pictures": pictures, "pictures_per_second": round(pictures / spent, 2), **row}


async def of_events(deployment: Deployment, writers: int, seconds: float, *, notifying: bool) -> dict[str, float]:
    """Events a second of so many writers, each with a session of its own, one event a transaction."""
    database = Database(deployment.database_url)
    images = ImageRepository(database, open_object_store(deployment.objects.as_uri()))
    sessions = SessionRepository(database, images, RequestRepository(database, 3600))
    postgres = deployment.parts["postgres"].process
    assert postgres is not None
    try:
        async with AsyncClient(deployment.address()) as client:
            made = [(await client.create_session(paint("rgb 1 2 3", one))).name for one in range(writers)]
        feedback, revision = domain.Feedback("less red"), Revision("a red star", ())

        async def write_one(name: str) -> None:
            session_id = name.removeprefix("sessions/")
            await sessions.add_feedback(DEFAULT_TENANT, session_id, feedback, revision, None)

        work = [partial(write_one, name) for name in made]
        await _for(0.5, work)
        cpu = cpu_of(postgres.pid)
        done = await _for(seconds, work)
        cpu = cpu_of(postgres.pid) - cpu
    finally:
        await database.engine.dispose()
    return {
        "writers": writers,
        "notifying": notifying,
        "flush_ms": 0,
        "events_per_second": round(done / seconds, 1),
        "postgres_cpu_ms_an_event": round(1000 * cpu / done, 3),
    }


async def of_cache(deployment: Deployment, seconds: float) -> dict[str, float]:
    """Embeddings a second that one client keeps and finds, four a command, and what they cost Redis."""
    redis = deployment.parts["redis"]
    assert isinstance(redis, RedisServer) and redis.process is not None
    cache = VectorCache(redis.url, ttl_seconds=3600)
    numbers = itertools.count()

    async def keep_and_find() -> None:
        keys = [EmbeddingKey(f"{next(numbers):064x}", "clip-l14", "1", "p1") for _ in range(4)]
        await cache.keep({key: key.vector(bytes(EMBEDDING_BYTES)) for key in keys})
        found = await cache.find(keys)
        assert len(found) == 4 and isinstance(found[keys[0]], EmbeddingVector)

    try:
        cpu, before = cpu_of(redis.process.pid), await _redis_counts(deployment)
        done = 4 * await _for(seconds, [keep_and_find] * 8)
        cpu, after = cpu_of(redis.process.pid) - cpu, await _redis_counts(deployment)
    finally:
        await cache.close()
    moved = after["redis_bytes"] - before["redis_bytes"]
    return {
        "embedding_bytes": EMBEDDING_BYTES,
        "kept_and_found_per_second": round(done / seconds, 1),
        "bytes_per_second": round(moved / seconds),
        "bytes_an_embedding": round(moved / done),
        "redis_cpu_us_an_embedding": round(1e6 * cpu / done, 1),
    }


def cpu_of(pid: int) -> float:
    """Processor seconds of a process and all below it."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


async def _all(run: Callable[[str], Awaitable[Sequence[Any]]], statements: Sequence[str]) -> None:
    for statement in statements:
        await run(statement)


async def _loops(client: AsyncClient, seconds: float) -> None:
    colors = itertools.count()

    async def loop() -> None:
        number = next(colors)
        target = paint(f"rgb {number % 256} {number // 256 % 256} 99", number)
        session = await client.create_session(target, seed=number)
        await client.start_loop(session, rounds=ROUNDS, candidates=CANDIDATES)
        async for _ in client.watch(session, until_idle=True):
            pass

    await _for(seconds, [loop] * CLIENTS)


async def _for(seconds: float, work: Sequence[Callable[[], Awaitable[None]]]) -> int:
    """Each piece of work again and again, side by side; how often in all. What has begun is finished."""
    until = time.monotonic() + seconds
    done = 0

    async def repeat(one: Callable[[], Awaitable[None]]) -> None:
        nonlocal done
        while time.monotonic() < until:
            await one()
            done += 1

    await asyncio.gather(*map(repeat, work))
    return done


@asynccontextmanager
async def _connection(deployment: Deployment) -> AsyncIterator[Callable[[str], Awaitable[Sequence[Any]]]]:
    async with AsyncExitStack() as stack:
        database = Database(deployment.database_url)
        stack.push_async_callback(database.engine.dispose)

        async def run(sql: str) -> Sequence[Any]:
            async with database.transaction() as connection:
                result = await connection.execute(text(sql))
                return tuple(result.one()) if result.returns_rows else ()

        yield run


async def _redis_counts(deployment: Deployment) -> dict[str, float]:
    redis = deployment.parts["redis"]
    assert isinstance(redis, RedisServer)
    async with Redis.from_url(redis.url) as client:
        stats: dict[str, Any] = await client.info("stats")
    moved = stats["total_net_input_bytes"] + stats["total_net_output_bytes"]
    return {"redis_bytes": float(moved), "redis_commands": float(stats["total_commands_processed"])}


if __name__ == "__main__":
    main()
