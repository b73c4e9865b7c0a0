"""What makes a write repeatable: its request_id and a digest of everything else that it says."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from google.protobuf.message import Message

from services.gateway.access.caller import current_caller
from services.gateway.sessions import validation
from services.gateway.store.requests import RequestKey

_THREAD_BYTES = 256 * 1024
"""Bodies from here on are hashed off the event loop."""


async def request_key(request: Any) -> RequestKey | None:
    """Id and digest of the caller's request if it carries a request_id; None if not.

    Raises:
        InvalidInputError: request_id is no UUID.
    """
    if not request.request_id:
        return None
    identity, tenant_id = validation.request_id(request.request_id), current_caller().tenant_id
    if request.ByteSize() >= _THREAD_BYTES:
        return RequestKey(identity, await asyncio.to_thread(_digest, request), tenant_id)
    return RequestKey(identity, _digest(request), tenant_id)


def _digest(request: Message) -> str:
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    # The type's name stands for the method: the same fields sent to another method are another request.
    digest = hashlib.sha256(request.DESCRIPTOR.full_name.encode())
    digest.update(b"\0")
    digest.update(body.SerializeToString(deterministic=True))
    return digest.hexdigest()
