"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from services.common.durable_files import write_durably


def test_a_file_is_written_and_replaced_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    path.parent.mkdir()
    for content in (b"one", b"another"):
        write_durably(path, tmp_path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_what_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def half(file: BinaryIO) -> None:
        file.write(b"ne")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_durably(path, tmp_path, half)
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_bytes_come_to_the_disk_before_the_name_and_folders_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "b" / "file"
    path.parent.mkdir(parents=True)
    synced: list[tuple[str, bool]] = []
    sync = os.fsync

    def watched(handle: int) -> None:
        synced.append((Path(f"/proc/self/fd/{handle}").readlink().name, path.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_durably(path, tmp_path, lambda file: file.write(b"data"))
    (first, there), *folders = synced
    assert first.startswith(".put-") and not there
    assert folders == [("b", True), ("a", True), (tmp_path.name, True)]
