"""Text from models and people is data: bounded, and free of what PostgreSQL cannot store and terminals obey."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

MAX_PROMPT_CHARACTERS = 2000
MAX_STORED_CHARACTERS = 20_000
"""Longest text of a backend that is stored; what is honest is a tenth of it."""

# NUL cannot be stored; escapes could move the cursor of whoever reads the text in a terminal.
_CONTROLS = dict.fromkeys(one for one in [*range(0x20), *range(0x7F, 0xA0)] if one not in b"\t\n\r")

T = TypeVar("T")


def storable(value: T) -> T:
    """The value with its texts cut at MAX_STORED_CHARACTERS and without control characters but tabs and line ends."""
    return cast(T, _clean(value))


def _clean(value: Any) -> Any:
    if type(value) is str:
        return value[:MAX_STORED_CHARACTERS].translate(_CONTROLS)
    if isinstance(value, tuple):
        return tuple(_clean(one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _clean(getattr(value, one.name)) for one in fields(value)})
    return value
