"""The calls of administration, which both clients inherit. They need a key of scope admin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from likeness import _admin_calls as calls
from likeness import _types as t
from likeness._calling import AsyncCalling, Calling


class AdminMethods(Calling):
    """Keys, limits and the audit log for the sync client."""

    def create_key(self, tenant_id: str, *, scope: t.KeyScope = t.KeyScope.RUN, display_name: str = "") -> t.NewApiKey:
        """Creates an API key; its text is in the answer and nowhere else.

        Args:
            tenant_id: Tenant to act for: 1 to 63 lower-case letters, digits, "-" and "_". It need not exist.
            scope: What the key may do.
            display_name: Name for people, at most 200 characters.
        """
        return self._run(calls.create_key(tenant_id, scope, display_name))

    def api_keys(self, *, tenant_id: str = "", page_size: int = 0) -> Iterator[t.ApiKey]:
        """Keys of all tenants or of one, newest first; pages are fetched as they are needed."""
        return self._pages(lambda token: calls.list_keys(tenant_id, page_size, token))

    def rotate_key(self, key: t.ApiKey | str, *, grace_seconds: float | None = None) -> t.NewApiKey:
        """Creates a key in the place of another, which works on for 0 to 30 days (a day if left out)."""
        return self._run(calls.rotate_key(key, grace_seconds))

    def revoke_key(self, key: t.ApiKey | str) -> t.ApiKey:
        """Ends a key at once, on every gateway."""
        return self._run(calls.revoke_key(key))

    def tenant(self, tenant_id: str) -> t.TenantState:
        """Limits of a tenant and what it used today."""
        return self._run(calls.get_limits(tenant_id))

    def set_tenant_limits(self, tenant_id: str, limits: t.TenantLimits) -> t.TenantLimits:
        """Replaces all limits of a tenant; returns those that count from now on."""
        return self._run(calls.set_limits(tenant_id, limits))

    def audit_entries(self, *, page_size: int = 0) -> Iterator[t.AuditEntry]:
        """What administrators did, newest first; pages are fetched as they are needed."""
        return self._pages(lambda token: calls.list_audit(page_size, token))


class AsyncAdminMethods(AsyncCalling):
    """The same for the async client."""

    async def create_key(
        self, tenant_id: str, *, scope: t.KeyScope = t.KeyScope.RUN, display_name: str = ""
    ) -> t.NewApiKey:
        """Creates an API key; see `Client.create_key`."""
        return await self._run(calls.create_key(tenant_id, scope, display_name))

    def api_keys(self, *, tenant_id: str = "", page_size: int = 0) -> AsyncIterator[t.ApiKey]:
        """Keys of all tenants or of one, newest first; pages are fetched as they are needed."""
        return self._pages(lambda token: calls.list_keys(tenant_id, page_size, token))

    async def rotate_key(self, key: t.ApiKey | str, *, grace_seconds: float | None = None) -> t.NewApiKey:
        """Creates a key in the place of another; see `Client.rotate_key`."""
        return await self._run(calls.rotate_key(key, grace_seconds))

    async def revoke_key(self, key: t.ApiKey | str) -> t.ApiKey:
        """Ends a key at once, on every gateway."""
        return await self._run(calls.revoke_key(key))

    async def tenant(self, tenant_id: str) -> t.TenantState:
        """Limits of a tenant and what it used today."""
        return await self._run(calls.get_limits(tenant_id))

    async def set_tenant_limits(self, tenant_id: str, limits: t.TenantLimits) -> t.TenantLimits:
        """Replaces all limits of a tenant; returns those that count from now on."""
        return await self._run(calls.set_limits(tenant_id, limits))

    def audit_entries(self, *, page_size: int = 0) -> AsyncIterator[t.AuditEntry]:
        """What administrators did, newest first; pages are fetched as they are needed."""
        return self._pages(lambda token: calls.list_audit(page_size, token))
