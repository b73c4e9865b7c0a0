"""AdminService over gRPC: convert, call, convert back. Errors are turned into statuses by the interceptor."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from likeness.gateway.v1 import admin_service_pb2 as pb
from likeness.gateway.v1 import admin_service_pb2_grpc
from services.common.errors import InvalidInputError
from services.gateway.access.caller import Scope, current_caller
from services.gateway.access.keys import ApiKey
from services.gateway.access.limits import TenantLimits
from services.gateway.access.service import AccessService
from services.gateway.store.audit import AuditEntry
from services.gateway.store.tenants import PIXELS_PER_MEGAPIXEL

_SCOPES: dict[int, Scope | None] = {
    pb.KEY_SCOPE_UNSPECIFIED: None,
    pb.KEY_SCOPE_READ: Scope.READ,
    pb.KEY_SCOPE_RUN: Scope.RUN,
    pb.KEY_SCOPE_ADMIN: Scope.ADMIN,
}
_LIMITS = ("requests_per_second", "concurrent_calls", "images_per_day", "megapixels_per_day")


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """Administration of a deployment."""

    def __init__(self, service: AccessService) -> None:
        self._service = service

    async def CreateKey(self, request: pb.CreateKeyRequest, context: Any) -> pb.CreateKeyResponse:
        """Creates a key."""
        scope = _scope(request.scope)
        key, text = await self._service.create_key(current_caller(), request.tenant_id, scope, request.display_name)
        return pb.CreateKeyResponse(key=_key(key), key_text=text)

    async def ListKeys(self, request: pb.ListKeysRequest, context: Any) -> pb.ListKeysResponse:
        """Lists keys, newest first."""
        page, token = await self._service.list_keys(request.tenant_id, request.page_size, request.page_token)
        return pb.ListKeysResponse(keys=[_key(one) for one in page], next_page_token=token)

    async def RotateKey(self, request: pb.RotateKeyRequest, context: Any) -> pb.RotateKeyResponse:
        """Replaces a key."""
        grace = request.grace_period.ToMilliseconds() / 1000 if request.HasField("grace_period") else None
        key, text, rotated = await self._service.rotate_key(current_caller(), request.key_id, grace)
        return pb.RotateKeyResponse(key=_key(key), key_text=text, rotated=_key(rotated))

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Any) -> pb.RevokeKeyResponse:
        """Ends a key."""
        return pb.RevokeKeyResponse(key=_key(await self._service.revoke_key(current_caller(), request.key_id)))

    async def GetTenantLimits(self, request: pb.GetTenantLimitsRequest, context: Any) -> pb.GetTenantLimitsResponse:
        """Returns a tenant's limits and usage."""
        own, effective, usage = await self._service.limits(request.tenant_id)
        used = pb.TenantUsage(images=usage.images, megapixels=usage.pixels / PIXELS_PER_MEGAPIXEL)
        return pb.GetTenantLimitsResponse(limits=_limits(own), effective=_limits(effective), usage=used)

    async def SetTenantLimits(self, request: pb.SetTenantLimitsRequest, context: Any) -> pb.SetTenantLimitsResponse:
        """Replaces a tenant's limits."""
        asked = request.limits
        own = TenantLimits(**{name: getattr(asked, name) for name in _LIMITS if asked.HasField(name)})  # type: ignore[arg-type]
        effective = await self._service.set_limits(current_caller(), request.tenant_id, own)
        return pb.SetTenantLimitsResponse(limits=_limits(own), effective=_limits(effective))

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, context: Any) -> pb.ListAuditEntriesResponse:
        """Lists what administrators did, newest first."""
        page, token = await self._service.audit_page(request.page_size, request.page_token)
        return pb.ListAuditEntriesResponse(entries=[_entry(one) for one in page], next_page_token=token)


def _scope(value: int) -> Scope | None:
    try:
        return _SCOPES[value]
    except KeyError:
        allowed = ", ".join(pb.KeyScope.keys()[1:])
        raise InvalidInputError("scope", f"is {value}", allowed=allowed) from None


def _key(key: ApiKey) -> pb.ApiKey:
    return pb.ApiKey(
        id=key.id,
        tenant_id=key.tenant_id,
        scope=pb.KeyScope.Value(f"KEY_SCOPE_{key.scope.name}"),
        display_name=key.display_name,
        create_time=_time(key.create_time),
        expire_time=_time(key.expire_time),
        revoke_time=_time(key.revoke_time),
        successor=key.successor,
    )


def _limits(limits: TenantLimits) -> pb.TenantLimits:
    return pb.TenantLimits(**{name: getattr(limits, name) for name in _LIMITS})


def _entry(entry: AuditEntry) -> pb.AuditEntry:
    return pb.AuditEntry(
        sequence=entry.sequence,
        create_time=_time(entry.create_time),
        key_id=entry.key_id,
        tenant_id=entry.tenant_id,
        peer=entry.peer,
        action=entry.action,
        subject=entry.subject,
        detail=entry.detail,
    )


def _time(value: datetime | None) -> Timestamp | None:
    if value is None:
        return None
    time = Timestamp()
    time.FromDatetime(value)
    return time
