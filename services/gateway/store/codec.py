"""Domain dataclasses <-> JSON values for JSONB columns.

Driven by the type hints, so a new field of a dataclass needs no change here. A field missing in stored JSON takes its
default and a field that the class no longer has is ignored, so old rows stay readable. JSON has no NaN or infinity
(PSNR of two equal pictures is infinite): those travel as strings.
"""

from __future__ import annotations

import math
import types
import typing
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from services.gateway import domain

T = TypeVar("T")
Json = Any
"""dict, list, str, int, float, bool or None."""

_EVENT_TYPES: dict[str, type[Any]] = {
    "state_changed": domain.StateChanged,
    "target_understood": domain.TargetUnderstood,
    "round_started": domain.RoundStarted,
    "candidate_generated": domain.CandidateGenerated,
    "candidate_scored": domain.CandidateScored,
    "candidate_failed": domain.CandidateFailed,
    "round_finished": domain.RoundFinished,
    "feedback_given": domain.FeedbackGiven,
    "candidates_ranked": domain.CandidatesRanked,
}
"""Names stored in the events table; CandidateProgress is live only and has none."""

_EVENT_NAMES = {kind: name for name, kind in _EVENT_TYPES.items()}


def encode(value: object) -> Json:
    """JSON value of a domain value."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: encode(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, tuple | list):
        return [encode(one) for one in value]
    return value


def decode(kind: type[T], raw: Json) -> T:
    """Domain value of type `kind` from a JSON value."""
    return typing.cast(T, _decode(kind, raw))


def encode_event(body: domain.EventBody) -> Json:
    """JSON object of a durable event body, with its name under "type"."""
    return {"type": _EVENT_NAMES[type(body)], **encode(body)}


def decode_event(raw: Json) -> domain.EventBody:
    """Durable event body from its JSON object."""
    return typing.cast(domain.EventBody, _decode(_EVENT_TYPES[raw["type"]], raw))


@lru_cache(maxsize=64)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode(kind: Any, raw: Json) -> Any:
    if isinstance(kind, types.UnionType) or get_origin(kind) is typing.Union:
        if raw is None:
            return None
        (inner,) = (one for one in get_args(kind) if one is not type(None))
        return _decode(inner, raw)
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        if inner[-1] is Ellipsis:
            return tuple(_decode(inner[0], one) for one in raw)
        return tuple(_decode(one_kind, one) for one_kind, one in zip(inner, raw, strict=True))
    if is_dataclass(kind):
        hints = _hints(typing.cast(typing.Hashable, kind))
        known = {one.name: _decode(hints[one.name], raw[one.name]) for one in fields(kind) if one.name in raw}
        return typing.cast(type[Any], kind)(**known)
    if kind is datetime:
        return datetime.fromisoformat(raw)
    if kind is float or issubclass(kind, StrEnum):
        return kind(raw)
    return raw
