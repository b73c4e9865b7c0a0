"""API keys, limits of tenants and the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class KeyScope(StrEnum):
    """What a key may do; each includes the ones before it."""

    READ = "read"
    RUN = "run"
    ADMIN = "admin"


@dataclass(frozen=True)
class ApiKey:
    """A key without its text.

    Attributes:
        scope: What it may do; None for one that this client does not know.
        expire_time: When it stops working, or did; None unless it was rotated.
        revoke_time: When it was revoked; None if it was not.
        successor: Id of the key that took its place, or "".
    """

    id: str
    tenant_id: str
    scope: KeyScope | None
    display_name: str
    create_time: datetime
    expire_time: datetime | None
    revoke_time: datetime | None
    successor: str


@dataclass(frozen=True)
class NewApiKey:
    """A key as it was made.

    Attributes:
        key: What the gateway keeps of it.
        text: What its owner gives to `Client`; nobody can read it again.
        replaced: The key that it takes the place of, with the time at which that one stops working; None for a new key.
    """

    key: ApiKey
    text: str = field(repr=False)
    replaced: ApiKey | None = None


@dataclass(frozen=True)
class TenantLimits:
    """Limits of a tenant. None means the deployment's default, 0 no limit.

    Attributes:
        requests_per_second: Calls a second that each of its keys may begin on average.
        concurrent_calls: Calls that each of its keys may have open at a time.
        images_per_day: Pictures that it may ask for in a day (UTC).
        megapixels_per_day: Millions of pixels that may be made for it in a day.
    """

    requests_per_second: float | None = None
    concurrent_calls: int | None = None
    images_per_day: int | None = None
    megapixels_per_day: float | None = None


@dataclass(frozen=True)
class TenantState:
    """Limits of a tenant and what it used since midnight, UTC.

    Attributes:
        limits: Its own.
        effective: What counts: its own, and the defaults where it has none.
        images: Pictures asked for today.
        megapixels: Millions of pixels made today.
    """

    limits: TenantLimits
    effective: TenantLimits
    images: int
    megapixels: float


@dataclass(frozen=True)
class AuditEntry:
    """Something an administrator did.

    Attributes:
        key_id: Key that it was done with; "" for an operator at the database, and while keys are off.
        tenant_id: Tenant of that key.
        peer: Address that the call came from.
        action: "keys.create", "keys.rotate", "keys.revoke" or "limits.set".
        subject: Id of a key or tenant.
        detail: Values of the act.
    """

    sequence: int
    create_time: datetime
    key_id: str
    tenant_id: str
    peer: str
    action: str
    subject: str
    detail: Mapping[str, str]
