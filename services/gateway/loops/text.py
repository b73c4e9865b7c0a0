"""Text from models and people is data: bounded, and free of what PostgreSQL cannot store."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

MAX_PROMPT_CHARACTERS = 2000

T = TypeVar("T")


def storable(value: T) -> T:
    """The value with every NUL character taken out of its text; a language model may write one."""
    return cast(T, _clean(value))


def _clean(value: Any) -> Any:
    if type(value) is str:
        return value.replace("\x00", "")
    if isinstance(value, tuple):
        return tuple(_clean(one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _clean(getattr(value, one.name)) for one in fields(value)})
    return value
