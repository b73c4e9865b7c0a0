"""`python -m services.gateway.store.migrate`: forward before a release, back before the one before it."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from likeness.gateway.v1 import session_service_pb2 as pb
from services.common.errors import PreconditionError, Reason
from services.gateway.store.migrate import main, migrate, schema
from tests.gateway.conftest import Parts, running

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
async def url(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database, which the settings name."""
    await execute(empty_database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    monkeypatch.setenv("LIKENESS_DATABASE_URL", empty_database_url)
    return empty_database_url


async def test_a_gateway_finds_what_it_had_after_a_step_back_and_forward(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await command() == 0
    newest = (await schema(url)).revision
    async with running(url, Parts()) as gateway:
        name = await gateway.create()
        await gateway.stub.StartLoop(pb.StartLoopRequest(name=name))
        before = await gateway.finished(name)
        assert await command("--back-to", "0006") == 1
        assert "DATABASE_IN_USE" in capsys.readouterr().err
    assert (await schema(url)).revision == newest
    assert await command("--back-to", "0006") == 0
    assert (await schema(url)).revision == "0006"
    assert await command() == 0
    async with running(url, Parts()) as gateway:
        assert await gateway.stub.GetSession(pb.GetSessionRequest(name=name)) == before


@pytest.mark.parametrize("revision", ["base", "9999", "head", "0007"])
async def test_only_earlier_revisions_are_gone_back_to(
    url: str, revision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await migrate(url, "0007")
    assert await command("--back-to", revision) == 1
    assert "0001, 0002, 0003, 0004, 0005, 0006" in capsys.readouterr().err
    assert (await schema(url)).revision == "0007"


async def test_tenants_are_not_shown_to_each_other_by_a_step_back(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await migrate(url)
    await execute(
        url,
        "INSERT INTO images VALUES ('a', 'p', 'image/png', 1, 1, 1)",
        "INSERT INTO image_owners VALUES ('acme', 'a', true, now())",
    )
    assert await command("--back-to", "0003") == 1
    assert "tenants other than 'default' have data (acme)" in capsys.readouterr().err


async def test_a_database_of_a_newer_release_is_left_alone(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await migrate(url)
    await execute(url, "UPDATE alembic_version SET version_num = '9999'")
    # What a gateway that starts does first.
    with pytest.raises(PreconditionError) as caught:
        await migrate(url)
    assert caught.value.reason is Reason.DATABASE_TOO_NEW
    for arguments in ((), ("--back-to", "0006")):
        assert await command(*arguments) == 1
        assert "9999" in capsys.readouterr().err


async def command(*arguments: str) -> int:
    """The command's exit status; it has an event loop of its own."""
    return await asyncio.to_thread(main, arguments)


async def execute(url: str, *statements: str) -> None:
    """Runs statements."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        for one in statements:
            await connection.execute(text(one))
    await engine.dispose()
