"""How much a tenant and its keys may ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Protocol

from services.common.errors import InvalidInputError

MAX_LIMIT = 1_000_000_000


@dataclass(frozen=True)
class TenantLimits:
    """Limits of a tenant. None means the deployment's default, 0 no limit.

    Attributes:
        requests_per_second: Calls that each key may begin, on average; twice as many at once.
        concurrent_calls: Calls that each key may have open, streams included.
        images_per_day: Pictures that the tenant may ask for in a day, UTC.
        megapixels_per_day: Megapixels that may be made for it in a day.
    """

    requests_per_second: float | None = None
    concurrent_calls: int | None = None
    images_per_day: int | None = None
    megapixels_per_day: float | None = None

    def over(self, defaults: TenantLimits) -> TenantLimits:
        """These, with the defaults where they say nothing."""
        mine = {one.name: getattr(self, one.name) for one in fields(self)}
        chosen = {name: getattr(defaults, name) if value is None else value for name, value in mine.items()}
        return TenantLimits(**chosen)


def checked(limits: TenantLimits) -> TenantLimits:
    """The limits, unchanged.

    Raises:
        InvalidInputError: one is negative, not finite or too large.
    """
    for one in fields(limits):
        value = getattr(limits, one.name)
        if value is not None and not (math.isfinite(value) and 0 <= value <= MAX_LIMIT):
            raise InvalidInputError(f"limits.{one.name}", f"is {value}", allowed=f"0 (no limit) to {MAX_LIMIT:,}")
    return limits


@dataclass(frozen=True)
class TenantUsage:
    """What a tenant used today: pictures asked for, pixels made."""

    images: int = 0
    pixels: int = 0


class Quota(Protocol):
    """Counts pictures of tenants against what they may have in a day."""

    async def spend(self, tenant_id: str, images: int) -> None:
        """Counts pictures that are about to be made; LimitError (QUOTA_EXCEEDED) if the day's do not suffice."""
        ...

    async def give_back(self, tenant_id: str, images: int) -> None:
        """Takes pictures off the count that were never begun."""
        ...

    async def made(self, tenant_id: str, pixels: int) -> None:
        """Counts the pixels of a picture that was made."""
        ...
