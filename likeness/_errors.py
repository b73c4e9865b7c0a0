"""Errors of the client, as Python exceptions.

LikenessError
├── InvalidArgument      a value of the request is not allowed; `field` says which     INVALID_ARGUMENT, OUT_OF_RANGE
├── Unauthenticated      no API key, or one that is not valid (any more)               UNAUTHENTICATED
├── PermissionDenied     the API key's scope does not cover the call                   PERMISSION_DENIED
├── NotFound             a session, picture, metric, profile or the like is not there  NOT_FOUND
├── AlreadyExists        a profile has the id, or another request the request id       ALREADY_EXISTS
├── FailedPrecondition   not possible in the present state of a session or profile     FAILED_PRECONDITION
├── Overloaded           a queue is full, or a limit or quota of the key or tenant     RESOURCE_EXHAUSTED
│                        is reached; try again after `retry_after_seconds`
├── Unavailable          the gateway, or something that it needs, does not answer      UNAVAILABLE
├── DeadlineExceeded     the time given was over                                       DEADLINE_EXCEEDED
├── Cancelled            the work was stopped on request                               CANCELLED
├── LoopFailed           the loop ended in a failure; `session` says which session     (no status: told by an event)
└── Internal             a defect, or an answer that this client does not understand   every other code

`reason` is stable and meant for programs, the message is for people and may change.
"""

# The names are those of the gRPC status codes, which users know; an "Error" behind each would only be longer.
# ruff: noqa: N818
from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

REQUEST_ID_HEADER = "x-request-id"
GATEWAY_UNREACHABLE = "GATEWAY_UNREACHABLE"
"""Reason of an UNAVAILABLE that came from the transport: no gateway answered."""


class LikenessError(Exception):
    """Root of the tree.

    Attributes:
        code: Name of the gRPC status code, such as "NOT_FOUND".
        reason: Stable reason, such as "SESSION_NOT_FOUND"; "" if the server gave none.
        message: Sentence for people.
        field: Request field at fault, such as "settings.steps"; "" if none is.
        request_id: Id of the call in the server's logs; "" if no call was made.
        retry_after_seconds: When to try again; None if that makes no sense or the server did not say.
        metadata: Dynamic values of the message, such as the allowed ones.
    """

    code: str = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        request_id: str = "",
        retry_after_seconds: float | None = None,
        metadata: dict[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.field = field
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        self.metadata = metadata or {}
        if code is not None:
            self.code = code


class InvalidArgument(LikenessError):
    """A value of the request is not allowed; the message says which are."""

    code = "INVALID_ARGUMENT"


class Unauthenticated(LikenessError):
    """The call has no API key, or one that is not valid."""

    code = "UNAUTHENTICATED"


class PermissionDenied(LikenessError):
    """The API key's scope does not cover the call."""

    code = "PERMISSION_DENIED"


class NotFound(LikenessError):
    """A named thing does not exist."""

    code = "NOT_FOUND"


class AlreadyExists(LikenessError):
    """A profile has this id already, or the request id belongs to another request."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(LikenessError):
    """Not possible in the present state, such as starting a loop while one runs."""

    code = "FAILED_PRECONDITION"


class Overloaded(LikenessError):
    """A queue is full, a limit or quota is reached, or the message is larger than 64 MiB."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(LikenessError):
    """The gateway, a backend or a store does not answer."""

    code = "UNAVAILABLE"


class DeadlineExceeded(LikenessError):
    """The time given was over."""

    code = "DEADLINE_EXCEEDED"


class Cancelled(LikenessError):
    """The work was stopped on request."""

    code = "CANCELLED"


class LoopFailed(LikenessError):
    """A loop ended in a failure. What it made until then can be read from `session`."""

    code = "ABORTED"

    def __init__(self, message: str, *, session: str, reason: str = "", field: str = "") -> None:
        super().__init__(message, reason=reason, field=field)
        self.session = session


class Internal(LikenessError):
    """A defect of the server, or an answer that this client does not understand."""

    code = "INTERNAL"


class _Codes:
    """Which class stands for which status code."""

    classes: ClassVar[dict[grpc.StatusCode, type[LikenessError]]] = {
        grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
        grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
        grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
        grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
        grpc.StatusCode.NOT_FOUND: NotFound,
        grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
        grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
        grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
        grpc.StatusCode.UNAVAILABLE: Unavailable,
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
        grpc.StatusCode.CANCELLED: Cancelled,
    }


_WRITE_FAILED = "Internal error from Core", 'Failed "execute_batch"'
"""How gRPC's message and what it has for debugging begin where it could not write."""


def is_own_failure(error: grpc.RpcError) -> bool:
    """Whether no server said this: the call was over while gRPC was still writing to it, and its status is not known.

    A connection that breaks does this, and a server that refuses a stream before it has read all of it.
    """
    if error.code() is not grpc.StatusCode.INTERNAL or not isinstance(error, grpc.aio.AioRpcError):
        return False
    said = error.details() or "", error.debug_error_string() or ""
    return all(text.startswith(start) for text, start in zip(said, _WRITE_FAILED, strict=True))


def from_rpc_error(error: grpc.RpcError, *, request_id: str, address: str) -> LikenessError:
    """The exception behind a failed call, sync or aio, with what the google.rpc details say."""
    code = error.code() or grpc.StatusCode.UNKNOWN
    details = _Details(error)
    kind = _Codes.classes.get(code, Internal)
    message, reason = error.details() or code.name.lower().replace("_", " "), details.reason
    if is_own_failure(error):
        code, kind = grpc.StatusCode.UNAVAILABLE, Unavailable
    if not reason and code is grpc.StatusCode.UNAVAILABLE:
        reason, message = GATEWAY_UNREACHABLE, f"no Likeness gateway answers at {address}"
    elif code is grpc.StatusCode.UNIMPLEMENTED:
        message = f"the server at {address} does not know this call; is it a Likeness gateway of this version?"
    return kind(
        message,
        reason=reason,
        field=details.field,
        request_id=_trailer(error, REQUEST_ID_HEADER) or request_id,
        retry_after_seconds=details.retry_after_seconds,
        metadata=details.metadata,
        code=code.name,
    )


class _Details:
    """ErrorInfo, BadRequest and RetryInfo of a failed call; empty values where the server sent none."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.reason = ""
        self.field = ""
        self.metadata: dict[str, str] = {}
        self.retry_after_seconds: float | None = None
        try:
            status = rpc_status.from_call(error)  # type: ignore[arg-type]  # a failed call is both an error and a call
        except ValueError:  # details of another call: a proxy's mistake
            status = None
        for packed in status.details if status is not None else ():
            info, bad, retry = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if _unpack(packed, info):
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif _unpack(packed, bad) and bad.field_violations:
                self.field = bad.field_violations[0].field
            elif _unpack(packed, retry):
                self.retry_after_seconds = retry.retry_delay.ToMilliseconds() / 1000


def _unpack(packed: Message, into: Message) -> bool:
    return bool(packed.Unpack(into))  # type: ignore[attr-defined]


def _trailer(error: grpc.RpcError, key: str) -> str:
    trailers: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    for name, value in trailers:
        if name == key:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return ""
