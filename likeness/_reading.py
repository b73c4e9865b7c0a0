"""Reads parts of the contracts' messages: enums, fields with presence, times."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

Enum = TypeVar("Enum", bound=StrEnum)


class HasPresence(Protocol):
    """Any message."""

    def HasField(self, field_name: Any) -> bool: ...  # noqa: N802 - protobuf's name


def enum(kind: type[Enum], names: Any, prefix: str, value: int) -> Enum | None:
    """The member for a protobuf enum value; None for UNSPECIFIED and for values of a newer contract."""
    text = enum_name(names, prefix, value)
    return kind(text) if text in list(kind) else None


def enum_name(names: Any, prefix: str, value: int) -> str:
    """The name of a protobuf enum value, in lower case without its prefix; "" for values of a newer contract."""
    try:
        return str(names.Name(value)).removeprefix(prefix).lower()
    except ValueError:
        return ""


def optional(message: HasPresence, field: str) -> Any:
    """The value of a field with presence; None if unset."""
    return getattr(message, field) if message.HasField(field) else None


def time(stamp: Timestamp) -> datetime:
    """In UTC."""
    return stamp.ToDatetime(tzinfo=UTC)
