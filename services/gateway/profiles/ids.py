"""Ids of profiles, and the metrics named after them."""

from __future__ import annotations

import re

from services.common.errors import InvalidInputError
from services.gateway.profiles.model import METRIC_PREFIX

ALLOWED = "1 to 63 lower-case letters, digits, '-' and '_', a letter first"

_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def is_profile_id(value: str) -> bool:
    """Whether a profile may be called so."""
    return _ID.fullmatch(value) is not None


def profile_id(field: str, value: str) -> str:
    """A profile id, unchanged.

    Raises:
        InvalidInputError: no profile may be called so.
    """
    if not is_profile_id(value):
        raise InvalidInputError(field, f"{value[:80]!r} is not a profile id", allowed=ALLOWED)
    return value


def owned_name(tenant_id: str, profile_id: str) -> str:
    """A profile among those of all tenants."""
    return f"{tenant_id}/{profile_id}"


def profiles_in(metrics: tuple[str, ...]) -> list[str]:
    """Ids of the profiles among metrics."""
    return [one.removeprefix(METRIC_PREFIX) for one in metrics if one.startswith(METRIC_PREFIX)]
