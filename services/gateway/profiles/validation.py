"""What a request may say of rankings."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from services.common.errors import InvalidInputError
from services.gateway.profiles.model import PictureInput, RankingInput
from services.gateway.sessions import validation

MAX_SESSIONS = 64
MAX_RANKINGS = 64
"""Rankings outside any session in one call."""
MIN_PICTURES, MAX_PICTURES = 2, 64
"""Pictures of one ranking."""

_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def session_ids(values: Sequence[str]) -> tuple[str, ...]:
    """Ids of sessions, none twice."""
    if len(values) > MAX_SESSIONS:
        raise InvalidInputError("session_ids", f"has {len(values)} ids", allowed=f"at most {MAX_SESSIONS}")
    for index, one in enumerate(values):
        field = f"session_ids[{index}]"
        if _SESSION_ID.fullmatch(one) is None:
            raise InvalidInputError(field, "is not the id of a session", allowed="what follows sessions/ in its name")
        if one in values[:index]:
            raise InvalidInputError(field, "names a session twice", allowed="each session once")
    return tuple(values)


def rankings(values: Sequence[RankingInput]) -> tuple[RankingInput, ...]:
    """Rankings outside any session, with places."""
    if len(values) > MAX_RANKINGS:
        raise InvalidInputError("rankings", f"has {len(values)} rankings", allowed=f"at most {MAX_RANKINGS}")
    return tuple(_ranking(f"rankings[{index}]", one) for index, one in enumerate(values))


def picture_count(field: str, count: int) -> None:
    """Raises InvalidInputError if a ranking has too few or too many pictures."""
    if not MIN_PICTURES <= count <= MAX_PICTURES:
        allowed = f"{MIN_PICTURES} to {MAX_PICTURES}"
        raise InvalidInputError(field, f"has {count} ranked pictures", allowed=allowed)


def _ranking(field: str, value: RankingInput) -> RankingInput:
    if value.target is None:
        raise InvalidInputError(f"{field}.target", "is missing", allowed="data or content_hash")
    _picture(f"{field}.target", value.target)
    picture_count(f"{field}.pictures", len(value.pictures))
    for index, one in enumerate(value.pictures):
        _picture(f"{field}.pictures[{index}]", one)
    return replace(value, places=_places(f"{field}.places", value))


def _picture(field: str, value: PictureInput) -> None:
    if value.data is None:
        if not value.content_hash:
            raise InvalidInputError(field, "is empty", allowed="data or content_hash")
        validation.content_hash(f"{field}.content_hash", value.content_hash)


def _places(field: str, value: RankingInput) -> tuple[float, ...]:
    count = len(value.pictures)
    if not value.places:
        return tuple(float(place) for place in range(1, count + 1))
    if len(value.places) != count:
        allowed = f"{count}, one for each picture, or none"
        raise InvalidInputError(field, f"has {len(value.places)} places", allowed=allowed)
    if not all(math.isfinite(place) for place in value.places):
        raise InvalidInputError(field, "has a place that is not finite", allowed="finite numbers")
    if len(set(value.places)) == 1:
        raise InvalidInputError(field, "are all the same", allowed="at least two different places")
    return value.places
