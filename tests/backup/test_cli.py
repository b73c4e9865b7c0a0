"""`likeness backup` as an operator runs it, and which stores it means."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from likeness.cli.main import main
from services.backup.stores import opened
from services.cluster.state import Home
from services.common.errors import PreconditionError, Reason
from services.common.settings import Settings
from services.gateway.store.migrate import SchemaState, migrate, schema
from tests.backup.living import destroyed, parts_on
from tests.backup.test_restore import name_of
from tests.gateway.conftest import running

# Each command starts a process.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


@pytest.fixture
async def deployment(empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with a session, which settings name; URL of the database."""
    objects = tmp_path / "objects"
    await destroyed(empty_database_url, objects)
    monkeypatch.setenv("LIKENESS_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("LIKENESS_OBJECT_STORE_URL", objects.as_uri())
    async with running(empty_database_url, parts_on(objects)) as gateway:
        await gateway.create()
    return empty_database_url


def test_backup_list_verify_restore(deployment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "place")
    assert main(["backup", "create", place, "--keep", "1"]) == 0
    said = capsys.readouterr().out
    assert "backed up: 3 rows, 1 objects, revision " in said and "0 older backups and 0 objects removed" in said
    assert main(["backup", "list", place, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["objects"] == 1 and listed["rows"]["sessions"] == 1 and listed["lost_objects"] == 0
    assert main(["backup", "restore", place]) == 1
    assert "DATABASE_NOT_EMPTY" in capsys.readouterr().err
    assert main(["backup", "restore", place, "--replace", name_of(deployment)]) == 0
    said = capsys.readouterr().out
    assert f"{listed['name']} restored" in said and "likeness doctor" in said
    shutil.rmtree(tmp_path / "place/objects")
    assert main(["backup", "verify", place, listed["name"]]) == 1
    said = capsys.readouterr().out
    assert f"{listed['name']} read" in said and "1 objects of the backup are lost or damaged" in said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["create", "ftp://host"], 1, "a folder, file:///folder or s3://bucket/prefix"),
        (["create", "somewhere", "--keep", "0"], 2, "at least 1"),
        (["restore", "nowhere", "20200101T000000.000Z"], 1, "backup '20200101T000000.000Z' does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    empty_database_url: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIKENESS_DATABASE_URL", empty_database_url)
    assert main(["backup", *arguments]) == code
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error


def test_one_that_breaks_off_is_not_taken_for_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("likeness.cli.backups._MODULE", "services.absent")
    assert main(["backup", "list", str(tmp_path)]) == 1
    assert "broke off" in capsys.readouterr().err


async def test_a_database_that_does_not_answer_or_has_no_tables_is_told(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await destroyed(empty_database_url, tmp_path / "objects")
    monkeypatch.setenv("LIKENESS_HOME", str(tmp_path))
    for url, says in (
        (empty_database_url, "no gateway has used yet"),
        (empty_database_url.replace(name_of(empty_database_url), "absent"), 'database "absent" does not exist'),
        ("postgresql+asyncpg://u@127.0.0.1:1/x", "does not answer"),
    ):
        monkeypatch.setenv("LIKENESS_DATABASE_URL", url)
        assert main(["backup", "create", str(tmp_path / "place")]) == 1
        assert says in capsys.readouterr().err


async def test_the_embedded_database_is_started_where_no_cluster_runs(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    async with opened(settings) as stores:
        assert Home(tmp_path).is_owned(), "no cluster starts meanwhile"
        await migrate(stores.database_url)
        with pytest.raises(PreconditionError) as caught:
            async with opened(settings):
                pass
        assert caught.value.reason is Reason.DATABASE_IN_USE
        first = await stores.objects.put(b"one")
    assert not Home(tmp_path).is_owned()
    async with opened(settings) as stores:
        assert (await schema(stores.database_url)).state is SchemaState.CURRENT
        assert await stores.objects.get(first) == b"one"
