"""The calls of administration, for both clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import duration_pb2
from google.protobuf.message import Message

from likeness import _admin_convert as convert
from likeness import _types as t
from likeness._call import Call, Result, build, service_call
from likeness.gateway.v1 import admin_service_pb2 as pb


def _admin_call(
    method: str, request: Message, response: type[Message], read: Callable[[Any], Result], *, repeatable: bool = True
) -> Call[Result]:
    return service_call("AdminService", method, request, response, read, repeatable=repeatable)


def key_id(key: t.ApiKey | str) -> str:
    """Id of a key, given as object or as id."""
    return key.id if isinstance(key, t.ApiKey) else key


def create_key(tenant_id: str, scope: t.KeyScope, display_name: str) -> Call[t.NewApiKey]:
    number = pb.KeyScope.Value(f"KEY_SCOPE_{scope.name}")
    request = build(pb.CreateKeyRequest, tenant_id=tenant_id, scope=number, display_name=display_name)
    # A stored answer would have the secret in it: a lost answer is not asked for again.
    return _admin_call("CreateKey", request, pb.CreateKeyResponse, convert.created, repeatable=False)


def list_keys(tenant_id: str, page_size: int, page_token: str) -> Call[tuple[tuple[t.ApiKey, ...], str]]:
    request = build(pb.ListKeysRequest, tenant_id=tenant_id, page_size=page_size, page_token=page_token)
    return _admin_call("ListKeys", request, pb.ListKeysResponse, convert.key_page)


def rotate_key(key: t.ApiKey | str, grace_seconds: float | None) -> Call[t.NewApiKey]:
    grace = None
    if grace_seconds is not None:
        grace = duration_pb2.Duration()
        grace.FromMilliseconds(round(grace_seconds * 1000))
    request = build(pb.RotateKeyRequest, key_id=key_id(key), grace_period=grace)
    return _admin_call("RotateKey", request, pb.RotateKeyResponse, convert.rotated, repeatable=False)


def revoke_key(key: t.ApiKey | str) -> Call[t.ApiKey]:
    request = build(pb.RevokeKeyRequest, key_id=key_id(key))
    return _admin_call("RevokeKey", request, pb.RevokeKeyResponse, lambda answer: convert.key(answer.key))


def get_limits(tenant_id: str) -> Call[t.TenantState]:
    request = build(pb.GetTenantLimitsRequest, tenant_id=tenant_id)
    return _admin_call("GetTenantLimits", request, pb.GetTenantLimitsResponse, convert.state)


def set_limits(tenant_id: str, limits: t.TenantLimits) -> Call[t.TenantLimits]:
    body = build(pb.TenantLimits, prefix="limits.", **convert.limits_message(limits))
    request = build(pb.SetTenantLimitsRequest, tenant_id=tenant_id, limits=body)
    return _admin_call(
        "SetTenantLimits", request, pb.SetTenantLimitsResponse, lambda answer: convert.limits(answer.effective)
    )


def list_audit(page_size: int, page_token: str) -> Call[tuple[tuple[t.AuditEntry, ...], str]]:
    request = build(pb.ListAuditEntriesRequest, page_size=page_size, page_token=page_token)
    return _admin_call("ListAuditEntries", request, pb.ListAuditEntriesResponse, convert.audit_page)
