"""The stores as seen from this machine: whether each answers, and whether the database has the gateway's tables."""

from __future__ import annotations

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from likeness.doctor.findings import Finding, note, ok, problem, warning
from services.common.errors import LikenessError
from services.common.settings import Settings
from services.gateway.cache import VectorCache
from services.gateway.objects import open_object_store
from services.gateway.store.database import Database
from services.gateway.store.migrate import SchemaState, schema


async def database(url: str) -> Finding:
    """Whether PostgreSQL answers."""
    advice = "Start it, or mend LIKENESS_DATABASE_URL."
    try:
        store = Database(url, name="likeness-doctor")
    except (ArgumentError, ImportError):
        advice = "Give it as postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE."
        return problem("database", "LIKENESS_DATABASE_URL is no URL of PostgreSQL", advice)
    try:
        await store.check()
    except LikenessError as error:
        return problem("database", f"{_place(url)}: {error.message}", advice)
    except DBAPIError as error:
        # Such as a wrong password or a database that is not there: PostgreSQL says which.
        return problem("database", f"{_place(url)} refuses: {_said(error)}", advice)
    finally:
        await store.close()
    return ok("database", f"{_place(url)} answers from this machine")


async def migrations(url: str) -> Finding:
    """Whether the tables are those of the installed version."""
    check = "migrations"
    found = await schema(url)
    if found.state is SchemaState.CURRENT:
        return ok(check, f"the database is at revision {found.revision}, as this version wants it")
    if found.state is SchemaState.EMPTY:
        return note(check, "the database has no tables yet; the first gateway to start makes them")
    if found.state is SchemaState.BEHIND:
        message = f"the database is at revision {found.revision}, this version wants {found.wanted}"
        advice = "Start a gateway of this version, which upgrades it; back it up before."
        return warning(check, message, advice)
    message = f"the database is at revision {found.revision}, which this version ({found.wanted}) does not know"
    advice = "A newer gateway has upgraded it: run that version here too, or take the database back with it first."
    return problem(check, message, advice)


async def cache(url: str) -> Finding:
    """Whether Redis answers."""
    advice = "Start it, or mend LIKENESS_REDIS_URL. Until then embeddings are computed anew each time."
    try:
        store = VectorCache(url, ttl_seconds=1)
    except ValueError:
        advice = "Give it as redis://HOST:PORT."
        return problem("cache", "LIKENESS_REDIS_URL is no URL of Redis", advice)
    try:
        await store.check()
    except LikenessError as error:
        return warning("cache", error.message, advice)
    finally:
        await store.close()
    return ok("cache", "Redis answers from this machine")


async def object_store(settings: Settings) -> Finding:
    """Whether pictures can be written."""
    url = settings.object_store_url or (settings.home.expanduser() / "objects").absolute().as_uri()
    try:
        await open_object_store(url).check()
    except LikenessError as error:
        advice = "Make room, or mend the rights in the folder or bucket of LIKENESS_OBJECT_STORE_URL."
        return problem("object_store", error.message, advice)
    return ok("object_store", "pictures can be written from this machine")


def _place(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def _said(error: DBAPIError) -> str:
    return str(error.orig).partition(": ")[2].splitlines()[0] if error.orig is not None else type(error).__name__
