"""WebDataset tar: the files that share a name up to its first dot are one item, and lie beside each other.

    <key>.json                fields of the item
    <key>.png, .jpg, ...      the picture to score
    <key>.target.png, ...     its target
    <key>.txt                 the text that a picture is scored against; where there is none, the prompt

The key is the item_id unless the JSON says another. Nothing is unpacked: names of files are names, never paths.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, Self

from services.common.errors import InvalidInputError
from services.common.settings import MAX_MESSAGE_BYTES, MEBIBYTE
from services.gateway.evaluations.manifests import jsonl
from services.gateway.evaluations.manifests.rows import Row, unreadable

MAX_SAMPLE_BYTES = MAX_MESSAGE_BYTES
MAX_HEADER_BYTES = MEBIBYTE
"""Of names and attributes of one member, which are read as a whole."""
PICTURES = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff")

_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
_ALLOWED = f".json, .txt, .{', .'.join(PICTURES)}, each of these also after .target"


_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Member(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            # Anywhere but at the beginning it takes these for the end, and the items behind it would be lost.
            raise tarfile.ReadError("a header is damaged") from error

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        # Made to be overridden, says its module.
        if self.type in _HEADERS and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is too large")
        return super()._proc_member(tar)  # type: ignore[misc, no-any-return]


@dataclass
class _Sample:
    key: str
    place: str
    files: dict[str, bytes] = field(default_factory=dict)
    problem: InvalidInputError | None = None
    size_bytes: int = 0

    def row(self) -> Row:
        digest = hashlib.sha256()
        for name, data in self.files.items():
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
        return Row(self.place, digest.digest(), self.size_bytes, partial(_fields, self))


def rows(file: BinaryIO) -> Iterator[Row]:
    """The samples of a tar.

    Raises:
        InvalidInputError: it is no readable tar; compressed ones are not read.
    """
    sample: _Sample | None = None
    try:
        # Without seeking, and without asking what the bytes may be compressed with. Zeros end a shard and not the file:
        # several may come one behind the other.
        with tarfile.open(fileobj=file, mode="r|", tarinfo=_Member, ignore_zeros=True) as tar:
            for member in tar:
                if member.isdir():
                    continue
                key, kind = _split(member.name)
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample.row()
                    sample = _Sample(key, f"file {member.name[:200]!r}")
                _add(sample, tar, member, kind)
                # It remembers every member it has seen, for lookups that nobody makes here.
                tar.members = []  # type: ignore[attr-defined]
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        problem = f"is not readable as tar ({type(error).__name__})"
        raise unreadable(problem, "a whole tar that is not compressed") from error
    if sample is not None:
        yield sample.row()


def _split(name: str) -> tuple[str, str]:
    match = _NAME.fullmatch(name)
    return (match[1], match[2].lower()) if match else (name, "")


def _add(sample: _Sample, tar: tarfile.TarFile, member: tarfile.TarInfo, kind: str) -> None:
    if sample.problem is not None:
        return
    sample.problem = _problem(sample, member, kind)
    if sample.problem is None:
        data = tar.extractfile(member)
        assert data is not None
        sample.files[kind] = data.read()


def _problem(sample: _Sample, member: tarfile.TarInfo, kind: str) -> InvalidInputError | None:
    name = member.name[:200]
    if any("\ud800" <= one <= "\udfff" for one in member.name):
        return InvalidInputError("name", "is not UTF-8", allowed="names of files in UTF-8")
    if not member.isreg():
        return InvalidInputError(name, "is no plain file", allowed="plain files; no links, no devices")
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\x00" in name:
        return InvalidInputError(name, "lies outside the archive", allowed="relative names without '..'")
    if _role(kind) is None:
        return InvalidInputError(name, "has a name that says nothing", allowed=_ALLOWED)
    if kind in sample.files:
        return InvalidInputError(name, "comes twice", allowed="each name once")
    sample.size_bytes += member.size
    if sample.size_bytes > MAX_SAMPLE_BYTES:
        problem = f"makes the item {sample.size_bytes:,} bytes large"
        return InvalidInputError(name, problem, allowed=f"at most {MAX_SAMPLE_BYTES // MEBIBYTE} MiB")
    return None


def _role(kind: str) -> str | None:
    if kind in ("json", "txt"):
        return kind
    role, _, suffix = kind.rpartition(".")
    return (role or "image") if suffix in PICTURES and role in ("", "target") else None


def _fields(sample: _Sample) -> Mapping[str, Any]:
    if sample.problem is not None:
        raise sample.problem
    found: dict[str, Any] = {}
    for kind, data in sample.files.items():
        role = _role(kind)
        assert role is not None
        if role == "json":
            _merge(found, jsonl.fields(data))
        elif role != "txt":
            _merge(found, {role: data})
    if "txt" in sample.files:
        _merge(found, {"text" if "image" in found else "prompt": _utf8(sample.files["txt"])})
    return {"item_id": sample.key} | found


def _merge(found: dict[str, Any], more: Mapping[str, Any]) -> None:
    twice = next((name for name in more if name in found), None)
    if twice is not None:
        raise InvalidInputError(str(twice)[:100], "is said by two files", allowed="one file for each field")
    found.update(more)


def _utf8(data: bytes) -> str:
    try:
        return data.decode().strip()
    except UnicodeDecodeError:
        raise InvalidInputError("txt", "is not UTF-8", allowed="text in UTF-8") from None
