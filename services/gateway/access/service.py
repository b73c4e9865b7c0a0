"""What administrators do: keys, limits, the audit log. One method a call; every change is recorded with its caller."""

from __future__ import annotations

import re

from services.common.errors import InvalidInputError
from services.common.telemetry import get_logger
from services.gateway.access.caller import Caller, Scope
from services.gateway.access.keys import ApiKey, new_key
from services.gateway.access.limits import TenantLimits, TenantUsage, checked
from services.gateway.sessions import tokens, validation
from services.gateway.store.audit import AuditEntry, AuditRepository
from services.gateway.store.keys import KeyRepository
from services.gateway.store.tenants import TenantRepository

DEFAULT_GRACE_SECONDS = 24 * 3600.0
MAX_GRACE_SECONDS = 30 * 24 * 3600.0

_TENANT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KEY_ID = re.compile(r"[0-9a-f]{16}")

log = get_logger(__name__)


class AccessService:
    """Administration without a transport. Every error is of the tree in services.common.errors."""

    def __init__(self, keys: KeyRepository, tenants: TenantRepository, audit: AuditRepository) -> None:
        self._keys = keys
        self._tenants = tenants
        self._audit = audit

    async def create_key(
        self, caller: Caller, tenant_id: str, scope: Scope | None, display_name: str
    ) -> tuple[ApiKey, str]:
        """Creates a key; the second value is its text, which nobody can read again."""
        checked_tenant(tenant_id)
        if scope is None:
            raise InvalidInputError("scope", "is missing", allowed=", ".join(Scope))
        most = validation.MAX_DISPLAY_NAME_CHARACTERS
        validation.text("display_name", display_name, most=most, required=False)
        new = new_key()
        key = await self._keys.create(caller, new, tenant_id, scope, display_name)
        log.info("key_created", key_id=key.id, tenant_id=tenant_id, scope=scope.value)
        return key, new.text

    async def list_keys(self, tenant_id: str, page_size: int, page_token: str) -> tuple[list[ApiKey], str]:
        """A page of keys, newest first, and the token of the next page ("" on the last)."""
        if tenant_id:
            checked_tenant(tenant_id)
        size = validation.page_size(page_size)
        # One more than the page tells whether there is a next one.
        found = await self._keys.list_page(tenant_id, size + 1, tokens.decode_page_token(page_token))
        page = found[:size]
        return page, tokens.encode_page_token(page[-1].create_time, page[-1].id) if len(found) > size else ""

    async def rotate_key(self, caller: Caller, key_id: str, grace_seconds: float | None) -> tuple[ApiKey, str, ApiKey]:
        """Creates a key in the place of another: the new one, its text, and the old one."""
        grace = DEFAULT_GRACE_SECONDS if grace_seconds is None else grace_seconds
        if not 0 <= grace <= MAX_GRACE_SECONDS:
            raise InvalidInputError("grace_period", f"is {grace:g} s", allowed=f"0 to {MAX_GRACE_SECONDS:,.0f} s")
        new = new_key()
        created, rotated = await self._keys.rotate(caller, _checked_key(key_id), new, grace)
        log.info("key_rotated", key_id=key_id, successor=created.id)
        return created, new.text, rotated

    async def revoke_key(self, caller: Caller, key_id: str) -> ApiKey:
        """Ends a key at once."""
        revoked = await self._keys.revoke(caller, _checked_key(key_id))
        log.info("key_revoked", key_id=key_id)
        return revoked

    async def limits(self, tenant_id: str) -> tuple[TenantLimits, TenantLimits, TenantUsage]:
        """A tenant's own limits, those that count, and what it used today."""
        own = await self._tenants.limits(checked_tenant(tenant_id))
        return own, own.over(self._tenants.defaults), await self._tenants.usage(tenant_id)

    async def set_limits(self, caller: Caller, tenant_id: str, limits: TenantLimits) -> TenantLimits:
        """Replaces a tenant's own limits; returns those that count."""
        await self._tenants.set_limits(caller, checked_tenant(tenant_id), checked(limits))
        return limits.over(self._tenants.defaults)

    async def audit_page(self, page_size: int, page_token: str) -> tuple[list[AuditEntry], str]:
        """A page of the audit log, newest first, and the token of the next page ("" on the last)."""
        size, before = validation.page_size(page_size), tokens.decode_page_token(page_token)
        if before is not None and not before[1].isdecimal():
            raise InvalidInputError("page_token", "is of another list", allowed="next_page_token of the page before")
        found = await self._audit.list_page(size + 1, int(before[1]) if before else None)
        page = found[:size]
        token = tokens.encode_page_token(page[-1].create_time, str(page[-1].sequence)) if len(found) > size else ""
        return page, token


def checked_tenant(value: str) -> str:
    """A tenant id, unchanged.

    Raises:
        InvalidInputError: no tenant may be called so.
    """
    if _TENANT_ID.fullmatch(value) is None:
        allowed = "1 to 63 lower-case letters, digits, '-' and '_', a letter or digit first"
        raise InvalidInputError("tenant_id", f"{value[:80]!r} is not the id of a tenant", allowed=allowed)
    return value


def _checked_key(value: str) -> str:
    if _KEY_ID.fullmatch(value) is None:
        allowed = "16 hexadecimal digits: what stands between 'lk_' and the next '_'"
        raise InvalidInputError("key_id", "is not the id of a key", allowed=allowed)
    return value
