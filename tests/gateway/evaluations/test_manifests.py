"""Manifests of every format: what they say, and what is said of each thing that is wrong with them."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import signal
import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.gateway.evaluations.manifests import (
    Format,
    ManifestFile,
    inspection,
    jsonl,
    parquet,
    read_manifest,
    webdataset,
)
from services.gateway.evaluations.manifests import reading as manifest_reading
from services.gateway.evaluations.model import EvaluationItem, ItemResult, Prompts
from services.gateway.profiles.model import PictureInput
from tests.gateway.evaluations.manifesting import inline, tar
from tests.gateway.evaluations.manifesting import jsonl as lines

HASH = "0a" * 32


def read(data: bytes, format_: Format | None = None) -> list[EvaluationItem | ItemResult]:
    """The items of a manifest."""
    return list(read_manifest(io.BytesIO(data), format_))


def only(data: bytes, format_: Format | None = None) -> EvaluationItem:
    """The one good item of a manifest."""
    (item,) = read(data, format_)
    assert isinstance(item, EvaluationItem), item
    return item


def error_of(data: bytes, format_: Format | None = None) -> tuple[str, str]:
    """Field and message of the one bad item of a manifest."""
    (result,) = read(data, format_)
    assert isinstance(result, ItemResult) and result.error is not None
    assert result.error.code == "INVALID_ARGUMENT"
    return result.error.error.field, result.error.error.message


def table(rows: list[dict[str, Any]]) -> bytes:
    """Parquet of rows."""
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


@pytest.mark.parametrize("make", [lines, table])
def test_rows_say_the_same_as_lines_and_as_columns(make: Any) -> None:
    rows = [
        {"item_id": "a", "group": "g", "system": "s", "prompts": ["x", "y"], "seed": 7, "image": None},
        {"item_id": "b", "group": "", "system": "", "prompts": None, "seed": None, "image": HASH},
    ]
    first, second = read(make(rows))
    assert isinstance(first, EvaluationItem) and isinstance(second, EvaluationItem)
    assert (first.offset, first.item_id, first.group, first.system) == (0, "a", "g", "s")
    assert first.subject == Prompts(("x", "y"), 7)
    assert (second.offset, second.subject) == (1, PictureInput(None, HASH))


def test_pictures_come_as_bytes_base64_or_hashes() -> None:
    item = only(lines([{"item_id": "a", "target": inline(b"t"), "image": {"content_hash": HASH}, "text": "x"}]))
    assert (item.target, item.subject, item.text) == (PictureInput(b"t"), PictureInput(None, HASH), "x")
    item = only(table([{"item_id": "a", "target": b"t", "image": {"bytes": b"i", "path": "/a.png"}}]))
    assert (item.target, item.subject) == (PictureInput(b"t"), PictureInput(b"i"))


def test_a_webdataset_groups_files_by_key() -> None:
    files = {
        "x/001.jpg": b"i",
        "x/001.target.png": b"t",
        "x/001.txt": b"a bird\n",
        "x/001.json": b'{"group": "g"}',
        "002.txt": b"a star",
    }
    first, second = read(tar(files))
    assert isinstance(first, EvaluationItem) and isinstance(second, EvaluationItem)
    assert (first.item_id, first.group, first.text) == ("x/001", "g", "a bird")
    assert (first.target, first.subject) == (PictureInput(b"t"), PictureInput(b"i"))
    assert (second.item_id, second.subject) == ("002", Prompts(("a star",)))


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        ("{", "line", "is not JSON"),
        ("[1]", "line", "no object"),
        ('{"item_id": NaN}', "line", "NaN is no JSON"),
        ("[" * 50_000, "line", "is not JSON"),
        ('{"item_id": 1}', "item_id", "is 1, no text"),
        ('{"prompt": "x", "prompts": ["y"]}', "prompt", "together with prompts"),
        ('{"prompts": "x"}', "prompts", "no list of texts"),
        ('{"prompts": ["x", 1]}', "prompts", "no list of texts"),
        ('{"prompt": "x", "seed": -1}', "seed", "is -1"),
        ('{"prompt": "x", "seed": true}', "seed", "is True"),
        ('{"seed": 1}', "seed", "without prompts"),
        (f'{{"prompt": "x", "image": "{HASH}"}}', "image", "together with prompts"),
        ('{"image": "https://example.com/a.png"}', "image", "nothing is fetched"),
        ('{"image": "/etc/passwd"}', "image", "is not a content hash"),
        ('{"image": {"path": "a.png"}}', "image", "is no picture"),
        ('{"image": {"data": "!"}}', "image.data", "is not base64"),
        ('{"image": {"data": "", "content_hash": ""}}', "image", "is no picture"),
        (r'{"item_id": "\ud800"}', "line", "surrogate"),
        (r'{"item_id": "a", "\udc00": 1}', "line", "surrogate"),
        (r'{"pic\u0000ture": 1}', "picture", "is no field"),
        ('{"picture": 1}', "picture", "is no field of an item; allowed: item_id"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(line: str, field: str, said: str) -> None:
    found, message = error_of(b"\n" + line.encode(), Format.JSONL)
    assert found == field and said in message and message.startswith("line 2: ")


def test_a_line_that_is_too_long_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 100)
    long, good = read(lines([{"item_id": "a" * 5000}, {"item_id": "b", "prompt": "x"}]))
    assert isinstance(long, ItemResult) and long.error is not None and "is too long" in long.error.error.message
    assert isinstance(good, EvaluationItem) and good.item_id == "b"
    exact = json.dumps({"item_id": "a", "prompt": ""})
    row = json.dumps({"item_id": "a", "prompt": "x" * (100 - len(exact))})
    assert len(row) == 100
    assert isinstance(read(row.encode() + b"\n")[0], EvaluationItem)


def test_a_picture_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.evaluations.manifests.rows.MAX_BYTES", 10)
    assert error_of(lines([{"image": inline(b"x" * 11)}]))[0] == "image.data"
    assert only(lines([{"image": inline(b"x" * 10)}])).subject == PictureInput(b"x" * 10)


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_member("../a.png"), "lies outside"),
        (_member("/etc/a.png"), "lies outside"),
        (_member("a/../../b.png"), "lies outside"),
        (_member("a.png", tarfile.SYMTYPE, "/etc/passwd"), "no plain file"),
        (_member("a.png", tarfile.LNKTYPE, "b.png"), "no plain file"),
        (_member("a.png", tarfile.CHRTYPE), "no plain file"),
        (_member("a.exe"), "has a name that says nothing"),
        (_member("noname"), "has a name that says nothing"),
        (tar({"a.json": b'{"text": "x"}', "a.png": b"", "a.txt": b"y"}), "is said by two files"),
        (tar({"a.png": b"x", "a.jpg": b"y"}), "is said by two files"),
        (tar({"a.json": b"["}), "is not JSON"),
        (tar({"a.txt": b"\xff"}), "is not UTF-8"),
        (_member("\udcff.txt"), "name: is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_sample_is_said(data: bytes, said: str) -> None:
    assert said in error_of(data)[1]


def test_a_sample_over_the_limit_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "MAX_SAMPLE_BYTES", 1000)
    large, good = read(tar({"a.png": b"x" * 600, "a.target.png": b"x" * 600, "b.png": b"x" * 1000}))
    assert isinstance(large, ItemResult) and isinstance(good, EvaluationItem)


def test_memory_does_not_grow_with_the_members_of_a_tar() -> None:
    file = io.BytesIO(tar({f"{n}.txt": b"x" for n in range(2000)}))
    seen: list[int] = []
    original = tarfile.TarFile.next

    def counting(self: tarfile.TarFile) -> tarfile.TarInfo | None:
        seen.append(len(self.members))  # type: ignore[attr-defined]
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tarfile.TarFile, "next", counting)
        assert len(list(read_manifest(file, Format.WEBDATASET))) == 2000
    assert max(seen) <= 2


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (b"", None),
        (b"hello", None),
        (b"\x1f\x8b" + b"x" * 600, None),
        (b"PAR1" + b"x" * 600, None),
        (tar({"a.png": b"x" * 5000})[:3000], None),
        (b"{}", Format.PARQUET),
        (b"{}", Format.WEBDATASET),
        (table([{"item_id": "a", "colour": "red"}]), None),
        (table([{"item_id": "a" * 500}])[:-200], None),
        (_member("x", tarfile.XHDTYPE) * 3000, Format.WEBDATASET),
        (_member("x", tarfile.GNUTYPE_LONGNAME) * 3000, Format.WEBDATASET),
    ],
)
def test_an_unreadable_file_is_refused_as_a_whole(data: bytes, format_: Format | None) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(data, format_)
    assert (caught.value.field, caught.value.reason) == ("manifest", Reason.MANIFEST_UNREADABLE)


def test_a_name_that_would_fill_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tar({"a" * 300 + ".txt": b"x"})
    assert len(read(data)) == 1
    monkeypatch.setattr(webdataset, "MAX_HEADER_BYTES", 100)
    with pytest.raises(InvalidInputError, match="ReadError"):
        read(data, Format.WEBDATASET)


def test_parquet_that_would_fill_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = table([{"item_id": "a", "text": "x" * 1000} for _ in range(50)])
    assert len(read(data)) == 50
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 100)
    with pytest.raises(InvalidInputError, match="row group"):
        read(data)


def test_too_many_items_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_reading, "MAX_ITEMS", 3)
    assert len(read(lines([{"item_id": "a"}] * 3))) == 3
    with pytest.raises(InvalidInputError, match="too many"):
        read(lines([{"item_id": "a"}] * 4))


async def test_a_file_is_read_in_any_number_of_parts_and_again_from_any_offset() -> None:
    data = lines([{"item_id": str(n), "prompt": "x"} for n in range(500)])
    with ManifestFile(None) as file:
        for start in range(0, len(data), 777):
            await file.append(data[start : start + 777])
        assert await file.count() == 500
        rest = [item.offset async for item in file.items(lambda offset: offset < 300 or offset == 400)]
    assert rest == [offset for offset in range(300, 500) if offset != 400]


async def test_of_several_parts_of_a_tar_the_one_that_reading_stopped_in_is_named() -> None:
    data = tar({f"{n}.png": b"x" * 2000 for n in range(60)})
    size = len(data) // 3
    with ManifestFile(None) as file:
        for part in (data[:size], b"\xff" * size, data[2 * size :]):
            await file.append(part)
        with pytest.raises(InvalidInputError) as caught:
            await file.count()
    assert caught.value.reason is Reason.MANIFEST_UNREADABLE
    assert caught.value.field == "manifest.parts.content_hashes[1]"
    assert caught.value.message.endswith("reading stopped in part 2 of 3")


@pytest.mark.parametrize("place", [512 + 148, 512 + 500])
def test_a_damaged_header_is_not_taken_for_the_end(place: int) -> None:
    data = bytearray(tar({f"{n}.json": b"" for n in range(5)}))
    data[place] ^= 0x55
    with pytest.raises(InvalidInputError, match="ReadError"):
        read(bytes(data))
    with pytest.raises(InvalidInputError, match="ReadError"):
        read(bytes(tar({"a.json": b"", "b.json": b""})[: 512 + 300]))


def test_shards_may_come_one_behind_the_other() -> None:
    shards = tar({"a.txt": b"x", "b.txt": b"y"}) + tar({"c.txt": b"z"})
    assert [item.item_id for item in read(shards)] == ["a", "b", "c"]


async def parquet_file(data: bytes) -> int:
    """Items of a Parquet file as a job counts them."""
    with ManifestFile(None) as file:
        await file.append(data)
        return await file.count()


@pytest.mark.integration
async def test_parquet_is_read_by_another_process_first() -> None:
    # This ends whoever reads it with pyarrow 26: it meets a C++ exception that it does not expect.
    damaged = bytearray(table([{"item_id": "a", "image": b"x"}] * 3))
    damaged[166] = 45
    with suppress(InvalidInputError):
        await parquet_file(bytes(damaged))
    data = table([{"item_id": str(n), "image": bytes([n % 7]) * 3000} for n in range(9)])
    assert await parquet_file(data) == 9
    with pytest.raises(InvalidInputError, match="is not readable as Parquet") as caught:
        await parquet_file(data[:50] + b"\xff" * 50 + data[100:])
    assert (caught.value.field, caught.value.reason) == ("manifest", Reason.MANIFEST_UNREADABLE)


@pytest.mark.parametrize(
    ("does", "expected", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGABRT)", InvalidInputError, "its reader ends with SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", InvalidInputError, "its reader ends with SIGKILL"),
        ("sys.exit(os.EX_IOERR)", UnavailableError, "disk cannot be read"),
        ("sys.exit(1)", RuntimeError, "failed with 1"),
    ],
)
async def test_a_file_that_ends_its_reader_does_not_end_the_gateway(
    monkeypatch: pytest.MonkeyPatch, does: str, expected: type[Exception], said: str
) -> None:
    monkeypatch.setattr(inspection, "_COMMAND", (sys.executable, "-c", f"import os, signal, sys; {does}"))
    with pytest.raises(expected, match=said):
        await parquet_file(table([{"item_id": "a"}]))


async def test_a_reader_that_is_ended_by_something_else_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    once = f"import os, signal, pathlib; p = pathlib.Path({str(tmp_path / 'once')!r}); "
    once += "p.exists() or (p.touch(), os.kill(os.getpid(), signal.SIGKILL))"
    monkeypatch.setattr(inspection, "_COMMAND", (sys.executable, "-c", once))
    assert await parquet_file(table([{"item_id": "a"}])) == 1


async def test_cancelling_ends_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(inspection.subprocess, "Popen", start)
    monkeypatch.setattr(inspection, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    counting = asyncio.create_task(parquet_file(table([{"item_id": "a"}])))
    while not started:
        await asyncio.sleep(0.01)
    counting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await counting
    assert await asyncio.to_thread(started[0].wait) == -signal.SIGKILL


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
async def test_a_disk_that_is_full_is_not_the_manifests_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w+b")  # noqa: SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    with pytest.raises(UnavailableError) as caught, ManifestFile(None) as file:
        await file.append(b"x")
    assert caught.value.reason is Reason.OBJECT_STORE_UNAVAILABLE and "disk" in caught.value.message


async def test_a_disk_without_room_for_a_file_is_not_the_manifests_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(UnavailableError):
        ManifestFile(None).__enter__()


@pytest.mark.parametrize("format_", list(Format))
def test_a_disk_that_cannot_be_read_is_not_the_manifests_fault(format_: Format) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        readline = read

    with pytest.raises(OSError, match="Input/output"):
        list(read_manifest(Broken(table([{"item_id": "a"}])), format_))


# Not of Parquet, whose damage may end this process: only another one reads it.
_DATA = [lines([{"item_id": "a", "image": inline(b"x")}] * 3), tar({"a.png": b"x", "b.json": b'{"prompt": "y"}'})]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_DATA), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8), st.data())
def test_no_damage_does_more_than_refuse(data: bytes, damage: list[tuple[int, int]], draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for place, value in damage:
        damaged[place % len(damaged)] = value
    cut = draw.draw(st.integers(0, len(damaged)))
    for one in (bytes(damaged), bytes(damaged[:cut])):
        try:
            items = read(one)
        except InvalidInputError:
            continue
        assert [item.offset for item in items] == list(range(len(items)))


def test_nothing_is_written_where_a_tar_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read(tar({"../evil.png": b"x", "a/b.png": b"x"}))
    assert not list(tmp_path.iterdir()) and not (tmp_path.parent / "evil.png").exists()
