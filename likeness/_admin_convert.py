"""Messages of AdminService <-> values."""

from __future__ import annotations

from dataclasses import asdict

from likeness import _types as t
from likeness._reading import enum, optional, time
from likeness.gateway.v1 import admin_service_pb2 as pb


def key(item: pb.ApiKey) -> t.ApiKey:
    """A key."""
    return t.ApiKey(
        id=item.id,
        tenant_id=item.tenant_id,
        scope=enum(t.KeyScope, pb.KeyScope, "KEY_SCOPE_", item.scope),
        display_name=item.display_name,
        create_time=time(item.create_time),
        expire_time=time(item.expire_time) if item.HasField("expire_time") else None,
        revoke_time=time(item.revoke_time) if item.HasField("revoke_time") else None,
        successor=item.successor,
    )


def created(answer: pb.CreateKeyResponse) -> t.NewApiKey:
    """A new key."""
    return t.NewApiKey(key(answer.key), answer.key_text)


def rotated(answer: pb.RotateKeyResponse) -> t.NewApiKey:
    """A key in the place of another."""
    return t.NewApiKey(key(answer.key), answer.key_text, key(answer.rotated))


def key_page(answer: pb.ListKeysResponse) -> tuple[tuple[t.ApiKey, ...], str]:
    """Keys of a page and the token of the next one."""
    return tuple(map(key, answer.keys)), answer.next_page_token


def limits(item: pb.TenantLimits) -> t.TenantLimits:
    """Limits of a tenant."""
    return t.TenantLimits(
        requests_per_second=optional(item, "requests_per_second"),
        concurrent_calls=optional(item, "concurrent_calls"),
        images_per_day=optional(item, "images_per_day"),
        megapixels_per_day=optional(item, "megapixels_per_day"),
    )


def limits_message(value: t.TenantLimits) -> dict[str, float | int]:
    """Fields of the message; those that are None stay unset."""
    return {name: number for name, number in asdict(value).items() if number is not None}


def state(answer: pb.GetTenantLimitsResponse) -> t.TenantState:
    """Limits and usage of a tenant."""
    usage = answer.usage
    return t.TenantState(limits(answer.limits), limits(answer.effective), usage.images, usage.megapixels)


def audit_page(answer: pb.ListAuditEntriesResponse) -> tuple[tuple[t.AuditEntry, ...], str]:
    """Entries of a page and the token of the next one."""
    return tuple(map(_entry, answer.entries)), answer.next_page_token


def _entry(item: pb.AuditEntry) -> t.AuditEntry:
    return t.AuditEntry(
        sequence=item.sequence,
        create_time=time(item.create_time),
        key_id=item.key_id,
        tenant_id=item.tenant_id,
        peer=item.peer,
        action=item.action,
        subject=item.subject,
        detail=dict(item.detail),
    )
