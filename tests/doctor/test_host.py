"""Disk and stores of a host, with each fault made real."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from services.common.settings import MEBIBYTE, Settings
from services.doctor.disk import disk
from services.doctor.stores import cache, database, object_store

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("free_mib", "state"), [(10_000, "ok"), (500, "warning"), (10, "problem")])
def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free_mib * MEBIBYTE))
    (found,) = disk(Settings(home=tmp_path / "not" / "there" / "yet"))
    assert found.state == state and "LIKENESS_HOME" in found.message


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    (found,) = disk(Settings(home=tmp_path / "home"))
    assert found.state == "problem" and "cannot be written to" in found.message


async def test_a_database_that_is_not_there() -> None:
    found = await database("postgresql+asyncpg://me:secret@127.0.0.1:1/likeness")
    assert found.state == "problem" and "the database does not answer" in found.message
    assert "secret" not in found.message and "127.0.0.1:1" in found.message


@pytest.mark.parametrize("url", ["likeness", "postgresql+nothing://db/likeness"])
async def test_a_url_of_no_database(url: str) -> None:
    found = await database(url)
    assert found.state == "problem" and "postgresql+asyncpg://" in found.advice


async def test_a_cache_that_is_not_there() -> None:
    found = await cache("redis://127.0.0.1:1")
    assert found.state == "warning" and "Redis does not answer" in found.message
    assert (await cache("carrier-pigeon://cache")).state == "problem"


async def test_an_object_store_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("")
    found = await object_store(Settings(home=tmp_path))
    assert found.state == "problem" and "object store cannot be used" in found.message
    (tmp_path / "objects").unlink()
    assert (await object_store(Settings(home=tmp_path))).state == "ok"
