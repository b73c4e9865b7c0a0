"""A gateway and a scorer as processes of their own, for benchmarks that measure what each takes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from services.cluster.postgres import Postgres
from services.cluster.redis_server import RedisServer


@asynccontextmanager
async def scorer() -> AsyncIterator[str]:
    """A scorer: its address."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.plain_scorer", stdout=asyncio.subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        port = int(await running.stdout.readline())
        yield f"127.0.0.1:{port}"
    finally:
        running.terminate()
        await running.wait()


@asynccontextmanager
async def gateway(scorer_address: str) -> AsyncIterator[tuple[str, psutil.Process]]:
    """A gateway with stores of its own: its address and process."""
    with tempfile.TemporaryDirectory(prefix="lk-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        postgres = Postgres(folder / "data", folder, folder / "postgres.log")
        redis = RedisServer(folder, folder / "redis.log")
        await asyncio.gather(postgres.start(), redis.start())
        environment = os.environ | {
            "LIKENESS_HOME": name,
            "LIKENESS_DATABASE_URL": postgres.url,
            "LIKENESS_REDIS_URL": redis.url,
            "LIKENESS_SCORER_ADDRESS": scorer_address,
            "LIKENESS_GATEWAY_PORT": "0",
            "LIKENESS_HTTP_PORT": "0",
        }
        log = folder / "gateway.log"
        with log.open("w") as out:
            running = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.gateway.app", env=environment, stdout=out, stderr=out
            )
        try:
            port = None
            while port is None:
                if running.returncode is not None:
                    raise RuntimeError("the gateway did not start:\n" + log.read_text())
                said = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
                port = next((one["port"] for one in said if one.get("event") == "ready"), None)
                await asyncio.sleep(0.2)
            yield f"127.0.0.1:{port}", psutil.Process(running.pid)
        finally:
            running.terminate()
            await running.wait()
            await asyncio.gather(postgres.stop(), redis.stop())
