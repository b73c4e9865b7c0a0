"""WebDataset tars: samples that are whole or not, members that are no files, shards, and headers that are damaged."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from services.common.errors import InvalidInputError, Reason
from services.gateway.evaluations.manifests import Format, ManifestFile, read_manifest, webdataset
from services.gateway.evaluations.model import EvaluationItem, ItemResult, Prompts
from services.gateway.profiles.model import PictureInput
from tests.gateway.evaluations.manifesting import tar
from tests.gateway.evaluations.reading import error_of, member, read


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
    ("data", "said"),
    [
        (member("../a.png"), "lies outside"),
        (member("/etc/a.png"), "lies outside"),
        (member("a/../../b.png"), "lies outside"),
        (member("a.png", tarfile.SYMTYPE, "/etc/passwd"), "no plain file"),
        (member("a.png", tarfile.LNKTYPE, "b.png"), "no plain file"),
        (member("a.png", tarfile.CHRTYPE), "no plain file"),
        (member("a.exe"), "has a name that says nothing"),
        (member("noname"), "has a name that says nothing"),
        (tar({"a.json": b'{"text": "x"}', "a.png": b"", "a.txt": b"y"}), "is said by two files"),
        (tar({"a.png": b"x", "a.jpg": b"y"}), "is said by two files"),
        (tar({"a.json": b"["}), "is not JSON"),
        (tar({"a.txt": b"\xff"}), "is not UTF-8"),
        (member("\udcff.txt"), "name: is not UTF-8"),
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


def test_a_name_that_would_fill_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tar({"a" * 300 + ".txt": b"x"})
    assert len(read(data)) == 1
    monkeypatch.setattr(webdataset, "MAX_HEADER_BYTES", 100)
    with pytest.raises(InvalidInputError, match="ReadError"):
        read(data, Format.WEBDATASET)


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


def test_nothing_is_written_where_a_tar_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read(tar({"../evil.png": b"x", "a/b.png": b"x"}))
    assert not list(tmp_path.iterdir()) and not (tmp_path.parent / "evil.png").exists()
