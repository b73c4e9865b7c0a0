"""Two roles of one owner, as docs/operations/rotation.md has them: either may be used, by gateways and for backups."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from likeness.gateway.v1 import session_service_pb2 as pb
from services.backup.place import LocalPlace
from services.common.errors import PreconditionError, Reason
from services.common.profile import ROOT
from tests.backup.living import destroyed, parts_on
from tests.backup.test_restore import backed_up, name_of, restored
from tests.gateway.conftest import running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

OLD, NEW, OWNER = "likeness_a", "likeness_b", "likeness_owner"


@pytest.fixture
async def urls(postgres: str, empty_database_url: str) -> AsyncIterator[dict[str, str]]:
    """URLs of a database by the role that connects."""
    page = (ROOT / "docs/operations/rotation.md").read_text(encoding="utf-8")
    shown = re.search(r"^```sql\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert shown is not None
    first = re.sub(r"--.*", "", shown[1]).split(";")[:-1]
    second = [one.replace(OLD, NEW) for one in first if OLD in one]
    name = name_of(empty_database_url)
    await execute(postgres, *first, *second, f"ALTER DATABASE {name} OWNER TO {OWNER}")
    yield {
        role: make_url(empty_database_url).set(username=role, password="...").render_as_string(hide_password=False)
        for role in (OLD, NEW)
    }
    await destroyed(empty_database_url, Path("/nonexistent"))
    await execute(
        postgres, f"ALTER DATABASE {name} OWNER TO postgres", *(f"DROP ROLE {one}" for one in (OLD, NEW, OWNER))
    )


async def test_a_gateway_goes_from_one_role_to_the_other(urls: dict[str, str], tmp_path: Path) -> None:
    objects, place = tmp_path / "objects", LocalPlace(tmp_path / "place")
    async with running(urls[OLD], parts_on(objects)) as old:
        name = await old.create()
        async with running(urls[NEW], parts_on(objects)) as new:
            await new.stub.StartLoop(pb.StartLoopRequest(name=name))
            before = await new.finished(name)
            await backed_up(urls[NEW], objects, place)
        # Gateways of another role are seen too.
        with pytest.raises(PreconditionError) as caught:
            await restored(urls[NEW], objects, place, replace=name_of(urls[NEW]))
        assert caught.value.reason is Reason.DATABASE_IN_USE
    assert await restored(urls[NEW], objects, place, replace=name_of(urls[NEW])) == []
    async with running(urls[OLD], parts_on(objects)) as old:
        assert await old.stub.GetSession(pb.GetSessionRequest(name=name)) == before
        await old.create()


async def execute(url: str, *statements: str) -> None:
    """Runs statements outside any transaction."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for one in statements:
            await connection.execute(text(one))
    await engine.dispose()
