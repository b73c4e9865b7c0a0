"""Pictures in runs that fit one call to the scorer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from services.common.errors import InvalidInputError
from services.common.settings import MAX_MESSAGE_BYTES, MEBIBYTE

MAX_PICTURES = 256
"""Pictures in one call to the scorer."""
MAX_CALL_BYTES = MAX_MESSAGE_BYTES - MEBIBYTE
"""Picture bytes in one call; the rest of the message limit is for everything else."""

Item = TypeVar("Item")


def split(items: Sequence[Item], size_bytes: Callable[[Item], int], *, base_bytes: int = 0) -> Iterator[list[Item]]:
    """Items in runs that fit one call beside `base_bytes` that every call carries.

    Raises:
        InvalidInputError: as `check_sizes`, before the first run.
    """
    sizes = [size_bytes(item) for item in items]
    check_sizes(sizes, base_bytes=base_bytes)
    run: list[Item] = []
    total = base_bytes
    for item, size in zip(items, sizes, strict=True):
        if run and (total + size > MAX_CALL_BYTES or len(run) == MAX_PICTURES):
            yield run
            run, total = [], base_bytes
        run.append(item)
        total += size
    if run:
        yield run


def check_sizes(sizes: Iterable[int], *, base_bytes: int) -> None:
    """Raises InvalidInputError, blamed on candidates[i], for the first that no call can carry beside `base_bytes`."""
    for index, size in enumerate(sizes):
        if base_bytes + size > MAX_CALL_BYTES:
            problem = "is too large to be compared with this target"
            allowed = f"at most {MAX_CALL_BYTES // MEBIBYTE} MiB for both files"
            raise InvalidInputError(f"candidates[{index}]", problem, allowed=allowed)
