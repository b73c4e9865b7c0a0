"""Which database and object store are backed up and restored: those of the settings, or of this machine's cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.cluster.state import Home, make_run_dir, remove_run_dir
from services.common.errors import InvalidInputError, PreconditionError, Reason, UnavailableError
from services.common.settings import Settings
from services.gateway.objects import open_object_store
from services.gateway.ports import ObjectStore
from services.gateway.store.database import Database


@dataclass(frozen=True)
class Stores:
    """A database that answers, and the object store that belongs to it."""

    database_url: str
    objects: ObjectStore


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Stores]:
    """The stores of the settings. The embedded database is started for the block if its cluster does not run.

    Raises:
        PreconditionError: DATABASE_IN_USE, if the cluster is just starting or stopping.
        UnavailableError: DATABASE_UNAVAILABLE.
        InvalidInputError: a URL cannot be used.
    """
    objects = open_object_store(
        settings.object_store_url or (settings.home.expanduser() / "objects").absolute().as_uri()
    )
    if settings.database_url is not None:
        await _check(settings.database_url)
        yield Stores(settings.database_url, objects)
        return
    home = Home(settings.home)
    if home.lock():
        try:
            async with _started(home) as url:
                yield Stores(url, objects)
        finally:
            home.unlock()
        return
    state = home.read()
    if state is None or not state.ready:
        raise PreconditionError(Reason.DATABASE_IN_USE, f"the cluster of {home.path} is just starting or stopping")
    yield Stores(state.database_url, open_object_store(state.object_store_url))


async def _check(url: str) -> None:
    database = Database(url, name="likeness-backup")
    try:
        await database.check()
    finally:
        await database.close()


@asynccontextmanager
async def _started(home: Home) -> AsyncIterator[str]:
    """The PostgreSQL of a cluster that does not run."""
    try:
        # Not in the gateway's image, which starts no PostgreSQL.
        from services.cluster.postgres import Postgres
        from services.cluster.processes import StartError
    except ModuleNotFoundError as error:
        allowed = "the URL of the gateways' database"
        raise InvalidInputError("LIKENESS_DATABASE_URL", "is not set", allowed=allowed) from error
    run_dir = make_run_dir()
    postgres = Postgres(home.path / "postgres", run_dir, home.logs / "postgres.log")
    try:
        await postgres.start()
        yield postgres.url
    except StartError as error:
        raise UnavailableError(Reason.DATABASE_UNAVAILABLE, str(error)) from error
    finally:
        await postgres.stop()
        remove_run_dir(str(run_dir))
