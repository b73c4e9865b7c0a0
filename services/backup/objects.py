"""Objects from one store to another, each checked against its hash on the way."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from services.backup.place import Place
from services.common.errors import DamagedObjectError, LikenessError, NotFoundError
from services.gateway.ports import ObjectStore

CONCURRENT = 8
"""Objects under way at a time: all of them are in memory."""
_PREFIX_DIGITS = 2

Copied = Callable[[int], None]
"""Told how many objects are done so far."""


def by_prefix(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Hashes of a list, a 256th at a time: (first two digits, hashes), in ascending order."""
    with gzip.open(path, "rt", encoding="ascii") as lines:
        hashes = (line.rstrip("\n") for line in lines)
        for prefix, group in groupby(hashes, key=lambda one: one[:_PREFIX_DIGITS]):
            yield prefix, list(group)


async def save_objects(listed: Path, source: ObjectStore, place: Place, copied: Copied) -> list[str]:
    """Copies the listed objects that a place lacks; returns those that the source has lost.

    Raises:
        UnavailableError: source or place cannot be used.
    """
    lost: list[str] = []
    done = 0

    async def save(content_hash: str) -> None:
        try:
            await place.objects.put(await source.get(content_hash))
        except (NotFoundError, DamagedObjectError):
            lost.append(content_hash)

    for prefix, hashes in by_prefix(listed):
        there = await place.stored(prefix)
        await _each([one for one in hashes if one not in there], save)
        copied(done := done + len(hashes))
    return sorted(lost)


async def bring_back(listed: Path, place: Place, target: ObjectStore, copied: Copied) -> list[str]:
    """Makes sure that a store has the listed objects, whole; returns those that neither it nor the place has.

    Raises:
        UnavailableError: place or target cannot be used.
    """
    lost: list[str] = []
    done = 0

    async def restore(content_hash: str) -> None:
        if await _is_whole(target, content_hash):
            return
        try:
            data = await place.objects.get(content_hash)
        except (NotFoundError, DamagedObjectError):
            lost.append(content_hash)
            return
        # A store takes bytes under a hash that it has for the same bytes.
        await target.delete(content_hash)
        await target.put(data)

    for _, hashes in by_prefix(listed):
        await _each(hashes, restore)
        copied(done := done + len(hashes))
    return sorted(lost)


async def lost_objects(listed: Path, store: ObjectStore, checked: Copied) -> list[str]:
    """Those of the listed objects that a store does not have whole; reads all of them."""
    lost: list[str] = []
    done = 0

    async def check(content_hash: str) -> None:
        if not await _is_whole(store, content_hash):
            lost.append(content_hash)

    for _, hashes in by_prefix(listed):
        await _each(hashes, check)
        checked(done := done + len(hashes))
    return sorted(lost)


async def _is_whole(store: ObjectStore, content_hash: str) -> bool:
    try:
        await store.get(content_hash)
    except (NotFoundError, DamagedObjectError):
        return False
    return True


async def _each(hashes: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Some at a time; the first failure ends all."""
    waiting = iter(hashes)

    async def go_on() -> None:
        for content_hash in waiting:
            await work(content_hash)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT):
                group.create_task(go_on())
    except* LikenessError as failures:
        first = failures.exceptions[0]
        assert isinstance(first, LikenessError)
        raise first from None
