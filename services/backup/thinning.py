"""Gives up old backups, and the objects that no other backup names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from services.backup.creating import OBJECTS_FILE
from services.backup.objects import by_prefix
from services.backup.place import Place
from services.backup.restoring import manifest_of, whole
from services.common.errors import InvalidInputError

_PREFIXES = [f"{number:02x}" for number in range(256)]


@dataclass(frozen=True)
class Thinned:
    """What was given up."""

    backups: tuple[str, ...]
    objects: int


async def thin(place: Place, keep: int) -> Thinned:
    """Keeps the newest whole backups. What is older goes, also what an interrupted backup left.

    No other backup may be under way in this place: its objects are named by no manifest yet.

    Raises:
        InvalidInputError: `keep` is less than 1.
        PreconditionError: BACKUP_DAMAGED, if it cannot be known which objects those that are kept need. Nothing is
            removed then.
    """
    if keep < 1:
        raise InvalidInputError("keep", f"is {keep}", allowed="at least 1")
    kept = (await whole(place))[-keep:]
    with tempfile.TemporaryDirectory(prefix="likeness-backup-") as folder:
        lists = [await _fetch_list(place, name, Path(folder)) for name in kept]
        gone = [name for name in await place.names() if name not in kept]
        for name in gone:
            await place.remove(name)
        removed = 0
        for prefix, needed in _needed(lists):
            for content_hash in await place.stored(prefix) - needed:
                await place.objects.delete(content_hash)
                removed += 1
    return Thinned(tuple(gone), removed)


async def _fetch_list(place: Place, name: str, folder: Path) -> Path:
    manifest = await manifest_of(place, name)
    path = folder / f"{name}.gz"
    await place.fetch(name, OBJECTS_FILE, path)
    manifest.objects.check(path)
    return path


def _needed(lists: Sequence[Path]) -> Iterator[tuple[str, set[str]]]:
    """What any of the lists names, a prefix at a time: memory for a 256th of it."""
    readers = [by_prefix(path) for path in lists]
    heads = [next(reader, None) for reader in readers]
    for prefix in _PREFIXES:
        named = [head[1] for head in heads if head is not None and head[0] == prefix]
        heads = [
            next(reader, None) if head is not None and head[0] == prefix else head
            for reader, head in zip(readers, heads, strict=True)
        ]
        yield prefix, set(chain.from_iterable(named))
