"""Files of manifests as a whole: read in parts and from any offset, or refused."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidInputError, Reason
from services.gateway.evaluations.manifests import Format, ManifestFile, parquet
from services.gateway.evaluations.manifests import reading as manifest_reading
from tests.gateway.evaluations.manifesting import inline, tar
from tests.gateway.evaluations.manifesting import jsonl as lines
from tests.gateway.evaluations.reading import member, read, table


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
        (member("x", tarfile.XHDTYPE) * 3000, Format.WEBDATASET),
        (member("x", tarfile.GNUTYPE_LONGNAME) * 3000, Format.WEBDATASET),
    ],
)
def test_an_unreadable_file_is_refused_as_a_whole(data: bytes, format_: Format | None) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(data, format_)
    assert (caught.value.field, caught.value.reason) == ("manifest", Reason.MANIFEST_UNREADABLE)


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
