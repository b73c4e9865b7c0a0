"""Reads the google.rpc details of a failed call."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Detail messages by type name; the status must agree with the call's code and text."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error.code()} {error.details()}"
    assert status.code == error.code().value[0] and status.message == error.details()
    found: dict[str, Any] = {}
    for packed in status.details:
        kind = packed.type_url.rpartition(".")[2]
        message = getattr(error_details_pb2, kind)()
        packed.Unpack(message)
        found[kind] = message
    assert found["ErrorInfo"].domain == "likeness"
    return found


def reason_of(error: grpc.aio.AioRpcError) -> tuple[Any, ...]:
    """Code, reason, and the field at fault if there is one."""
    details = details_of(error)
    fields = [one.field for one in details["BadRequest"].field_violations] if "BadRequest" in details else []
    return (error.code(), details["ErrorInfo"].reason, *fields)
