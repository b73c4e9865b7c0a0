"""A whole deployment of real processes in a folder of its own: PostgreSQL, Redis, light backends and gateways."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from reliability.parts import GATEWAY_SECONDS, Gateway, LightBackend, Part, kill, wake
from services.cluster.postgres import Postgres
from services.cluster.processes import free_port
from services.cluster.redis_server import RedisServer
from services.cluster.state import make_run_dir, remove_run_dir

BACKENDS = ("generator", "scorer", "refiner")
PROFILE = Path(__file__).parent / "light" / "profile.yaml"


@dataclass
class Deployment:
    """A running deployment. What is killed stays dead until it is started."""

    home: Path
    """Folder with data, pictures and logs."""
    database_url: str
    objects: Path
    """Folder of the object store."""
    parts: dict[str, Part]
    """By name: postgres, redis, generator, scorer, refiner, gateway-1, gateway-2 ..."""

    @property
    def gateways(self) -> list[Gateway]:
        """The gateways."""
        return [part for part in self.parts.values() if isinstance(part, Gateway)]

    def address(self, first: int = 0) -> str:
        """Address of all gateways, as a client takes it: it talks to the first that answers, from number `first` on."""
        gateways = self.gateways
        start = first % len(gateways)
        return "ipv4:" + ",".join(one.address for one in (*gateways[start:], *gateways[:start]))

    async def kill(self, name: str) -> None:
        """SIGKILL; returns when the process is gone."""
        part = self.parts[name]
        kill(part)
        if part.process is not None:
            await part.process.wait()

    async def start(self, name: str) -> None:
        """Starts a part that was killed or stopped."""
        await self.parts[name].start()

    async def mend(self) -> None:
        """Wakes what sleeps (SIGSTOP), starts everything that is dead and waits until every gateway is well."""
        for part in self.parts.values():
            wake(part)
        dead = [part for part in self.parts.values() if part.process is None or part.process.returncode is not None]
        # A gateway does not start without its database.
        await asyncio.gather(*(part.start() for part in dead if not isinstance(part, Gateway)))
        await asyncio.gather(*(part.start() for part in dead if isinstance(part, Gateway)))
        async with asyncio.timeout(GATEWAY_SECONDS):
            await asyncio.gather(*(_made_well(one) for one in self.gateways))

    def log(self, name: str) -> str:
        """What a part has written so far."""
        return (self.home / f"{name}.log").read_text(encoding="utf-8", errors="replace")


async def _made_well(gateway: Gateway) -> None:
    """Waits until a gateway serves. One that is draining may still be alive: it is started again when it has ended."""
    while True:
        if gateway.process is None or gateway.process.returncode is not None:
            await gateway.start()
        with suppress(TimeoutError):
            return await gateway.wait_health("SERVING", seconds=2)


@asynccontextmanager
async def deployed(
    *,
    gateways: int = 1,
    settings: Mapping[str, object] | None = None,
    environments: Sequence[Mapping[str, str]] = (),
    options: Mapping[str, Sequence[str]] | None = None,
    objects: Path | None = None,
) -> AsyncIterator[Deployment]:
    """A deployment for as long as the block runs. Nothing of it stays, not even after SIGKILL of this process.

    Args:
        gateways: How many.
        settings: Settings of the gateways, by name.
        environments: Further environment variables of each gateway, in order.
        options: Arguments of light backends, by name.
        objects: Folder of the object store; one of the deployment's own if left out.
    """
    run_dir = make_run_dir()
    home = run_dir / "home"
    home.mkdir()
    parts: dict[str, Part] = {}
    try:
        postgres = Postgres(home / "postgres", run_dir, home / "postgres.log")
        redis = RedisServer(run_dir, home / "redis.log")
        parts |= {"postgres": postgres, "redis": redis}
        taken: list[int] = []

        def port() -> int:
            taken.append(free_port(0, taken=taken))
            return taken[-1]

        backends = {
            name: LightBackend(name, port(), home / f"{name}.log", (options or {}).get(name, ())) for name in BACKENDS
        }
        parts |= backends
        await asyncio.gather(*(part.start() for part in parts.values()))
        store = objects or home / "objects"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")}
        chosen: dict[str, object] = {
            "home": home,
            "profile": PROFILE,
            "database_url": postgres.url,
            "redis_url": redis.url,
            "object_store_url": store.as_uri(),
            **{f"{name}_address": backend.address for name, backend in backends.items()},
            **(settings or {}),
        }
        for number in range(gateways):
            name, grpc_port = f"gateway-{number + 1}", port()
            own = {**chosen, "gateway_port": grpc_port, "http_port": port()}
            environment = clean | {f"LIKENESS_{key.upper()}": str(value) for key, value in own.items()}
            environment |= environments[number] if number < len(environments) else {}
            parts[name] = Gateway(name, grpc_port, home / f"{name}.log", environment)
        deployment = Deployment(home, postgres.url, store, parts)
        await deployment.mend()
        yield deployment
    finally:
        await _end(parts)
        remove_run_dir(str(run_dir))


async def _end(parts: Mapping[str, Part]) -> None:
    """Kills everything: what it holds is thrown away, so nothing needs to be saved."""
    for part in parts.values():
        kill(part)
    await asyncio.gather(*(part.process.wait() for part in parts.values() if part.process is not None))
