"""The client's values as plain dictionaries, for JSON."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from likeness._events import Event


def to_dict(value: Any) -> Any:
    """A typed result as dicts, lists, strings and numbers; times in ISO 8601, encoded pictures left out.

    An event becomes {"sequence", "cursor", "create_time", "kind", and the fields of what happened}.
    """
    if isinstance(value, Event):
        head = {"sequence": value.sequence, "cursor": value.cursor, "create_time": value.create_time.isoformat()}
        return head | {"kind": value.kind} | to_dict(value.body)
    if is_dataclass(value) and not isinstance(value, type):
        members = ((item.name, getattr(value, item.name)) for item in fields(value))
        return {name: to_dict(member) for name, member in members if not isinstance(member, bytes)}
    if isinstance(value, dict):
        return {str(key): to_dict(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dict(member) for member in value]
    return value.isoformat() if isinstance(value, datetime) else value
