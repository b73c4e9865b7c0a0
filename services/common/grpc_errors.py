"""The one mapping between the error tree and gRPC.

Backends stand behind Ray Serve's proxy, which loses trailing metadata on errors, so between backends and gateway an
error travels as status code + one line of JSON in the details (`to_detail`, `from_status`). The gateway turns it into
google.rpc details for clients (`to_status`).
"""

from __future__ import annotations

import json

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.common import errors
from services.common.errors import LikenessError, Reason

DOMAIN = "likeness"

_CLASSES: dict[str, type[LikenessError]] = {
    kind.code: kind
    for kind in (
        errors.InvalidInputError,
        errors.OutOfRangeError,
        errors.NotFoundError,
        errors.ConflictError,
        errors.PreconditionError,
        errors.OverloadedError,
        errors.DeadlineError,
        errors.UnavailableError,
        errors.CancelledError,
    )
}

_DEFAULT_REASONS: dict[grpc.StatusCode, Reason] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.QUEUE_FULL,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED: Reason.CANCELLED,
    grpc.StatusCode.UNAVAILABLE: Reason.BACKEND_UNAVAILABLE,
}


def code_of(error: LikenessError) -> grpc.StatusCode:
    """gRPC status code of an error."""
    return grpc.StatusCode[error.code]


def to_detail(error: LikenessError) -> str:
    """Details line between a backend and the gateway; at most about 2 KB."""
    body: dict[str, object] = {"reason": error.reason.value, "message": error.message[:1000]}
    if error.field:
        body["field"] = error.field[:200]
    if error.retry_after_seconds is not None:
        body["retry_after_seconds"] = error.retry_after_seconds
    return json.dumps(body)


def from_status(code: grpc.StatusCode, detail: str | None, *, backend: str) -> LikenessError:
    """Error behind a failed backend call. Text that is not ours (a proxy's, a traceback) never gets through."""
    reason, message, field, retry_after = _DEFAULT_REASONS.get(code, Reason.INTERNAL), "", "", None
    try:
        body = json.loads(detail or "")
        reason, message = Reason(body["reason"]), str(body["message"])
        field = str(body.get("field", ""))
        retry_after = float(body["retry_after_seconds"]) if "retry_after_seconds" in body else None
    except (ValueError, KeyError, TypeError):
        message = f"{backend}: {code.name.lower().replace('_', ' ')}"
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        error: LikenessError = errors.InvalidInputError(field or "request", message, reason=reason)
        error.message = message
        return error
    kind = _CLASSES.get(code.name)
    if kind is None or kind is errors.CancelledError:
        return errors.CancelledError(message) if kind else errors.InternalError()
    error = LikenessError.__new__(kind)
    LikenessError.__init__(error, reason, message, field=field, retry_after_seconds=retry_after)
    return error


def to_status(error: LikenessError) -> status_pb2.Status:
    """google.rpc.Status for clients: ErrorInfo, with BadRequest, QuotaFailure and kin where they apply."""
    details = [error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=error.metadata)]
    packed = [_pack(detail) for detail in details]
    if isinstance(error, errors.InvalidInputError):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        packed.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, errors.NotFoundError) and "name" in error.metadata:
        info = error_details_pb2.ResourceInfo(
            resource_type=error.metadata["kind"], resource_name=error.metadata["name"], description=error.message
        )
        packed.append(_pack(info))
    if isinstance(error, errors.LimitError):
        over = error_details_pb2.QuotaFailure.Violation(subject=error.subject, description=error.message)
        packed.append(_pack(error_details_pb2.QuotaFailure(violations=[over])))
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(error.retry_after_seconds * 1000))
        packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    code = code_pb2.Code.Value(code_of(error).name)
    return status_pb2.Status(code=code, message=error.message[:1500], details=packed)


def _pack(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed
