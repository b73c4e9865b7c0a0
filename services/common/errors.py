"""The one error tree of the services.

LikenessError
├── InvalidInputError      a field of the request is wrong            -> INVALID_ARGUMENT
│   └── ImageError         a picture cannot be taken                  -> INVALID_ARGUMENT
├── OutOfRangeError        earlier items of a stream are missing      -> OUT_OF_RANGE
├── UnauthenticatedError   no API key, or one that is not valid       -> UNAUTHENTICATED
├── ForbiddenError         the API key may not do this                -> PERMISSION_DENIED
├── NotFoundError          a named thing does not exist               -> NOT_FOUND
├── ConflictError          a request id was used for another request  -> ALREADY_EXISTS
├── PreconditionError      not possible in the present state          -> FAILED_PRECONDITION
├── OverloadedError        a queue is full; try again later           -> RESOURCE_EXHAUSTED
├── LimitError             a limit of the key or tenant is reached    -> RESOURCE_EXHAUSTED
├── DeadlineError          the time given is over or too short        -> DEADLINE_EXCEEDED
├── UnavailableError       something needed does not answer           -> UNAVAILABLE
│   └── DamagedObjectError stored bytes are not what was stored       -> UNAVAILABLE
├── CancelledError         the caller or CancelLoop stopped the work  -> CANCELLED
└── InternalError          a defect of ours; the text says nothing    -> INTERNAL

A reason is stable and public; a message is for people and may change. The edges map an error once to a gRPC status
(`grpc_errors.py`); nothing below the edges knows gRPC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """Stable reasons, sent as google.rpc.ErrorInfo.reason."""

    INVALID_FIELD = "INVALID_FIELD"
    KEY_MISSING = "KEY_MISSING"
    KEY_INVALID = "KEY_INVALID"
    KEY_EXPIRED = "KEY_EXPIRED"
    KEY_REVOKED = "KEY_REVOKED"
    SCOPE_TOO_NARROW = "SCOPE_TOO_NARROW"
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    KEY_NOT_ACTIVE = "KEY_NOT_ACTIVE"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_MANY_CALLS = "TOO_MANY_CALLS"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    IMAGE_UNREADABLE = "IMAGE_UNREADABLE"
    IMAGE_TOO_LARGE = "IMAGE_TOO_LARGE"
    IMAGE_ANIMATED = "IMAGE_ANIMATED"
    IMAGE_TOO_COSTLY = "IMAGE_TOO_COSTLY"
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    CANDIDATE_NOT_FOUND = "CANDIDATE_NOT_FOUND"
    IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"
    METRIC_NOT_FOUND = "METRIC_NOT_FOUND"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    STRATEGY_NOT_FOUND = "STRATEGY_NOT_FOUND"
    PROFILE_NOT_FOUND = "PROFILE_NOT_FOUND"
    PROFILE_VERSION_NOT_FOUND = "PROFILE_VERSION_NOT_FOUND"
    PROFILE_EXISTS = "PROFILE_EXISTS"
    PROFILE_IN_USE = "PROFILE_IN_USE"
    PROFILE_CHANGED = "PROFILE_CHANGED"
    NO_RANKINGS = "NO_RANKINGS"
    EVALUATION_NOT_FOUND = "EVALUATION_NOT_FOUND"
    EVALUATION_TAKEN_OVER = "EVALUATION_TAKEN_OVER"
    EVALUATION_NOT_OPEN = "EVALUATION_NOT_OPEN"
    OFFSET_GAP = "OFFSET_GAP"
    OFFSET_REUSED = "OFFSET_REUSED"
    ITEM_TOO_LARGE = "ITEM_TOO_LARGE"
    MANIFEST_UNREADABLE = "MANIFEST_UNREADABLE"
    MANIFEST_PART_NOT_FOUND = "MANIFEST_PART_NOT_FOUND"
    REPORT_TOO_LARGE = "REPORT_TOO_LARGE"
    RACE_NOT_FOUND = "RACE_NOT_FOUND"
    RACE_NOT_RUNNING = "RACE_NOT_RUNNING"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    SESSION_BUSY = "SESSION_BUSY"
    SESSION_NOT_RUNNING = "SESSION_NOT_RUNNING"
    SESSION_PAUSED = "SESSION_PAUSED"
    SESSION_NOT_PAUSED = "SESSION_NOT_PAUSED"
    EVENTS_NOT_KEPT = "EVENTS_NOT_KEPT"
    QUEUE_FULL = "QUEUE_FULL"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    BACKEND_UNAVAILABLE = "BACKEND_UNAVAILABLE"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    LANGUAGE_MODEL_UNAVAILABLE = "LANGUAGE_MODEL_UNAVAILABLE"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    OBJECT_STORE_UNAVAILABLE = "OBJECT_STORE_UNAVAILABLE"
    BACKUP_NOT_FOUND = "BACKUP_NOT_FOUND"
    BACKUP_DAMAGED = "BACKUP_DAMAGED"
    BACKUP_DISTURBED = "BACKUP_DISTURBED"
    DATABASE_IN_USE = "DATABASE_IN_USE"
    DATABASE_NOT_EMPTY = "DATABASE_NOT_EMPTY"
    DATABASE_TOO_NEW = "DATABASE_TOO_NEW"
    GENERATION_FAILED = "GENERATION_FAILED"
    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"


class LikenessError(Exception):
    """Root of the tree: what went wrong, stable reason first.

    Attributes:
        code: Name of the status code that the edges answer with.
        reason: Stable reason for programs.
        message: Sentence for people.
        field: Request field at fault, in proto spelling, or "".
        metadata: Dynamic values of the message, for programs.
        retry_after_seconds: When trying again makes sense; None if it does not.
    """

    code: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        field: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel between Ray processes; the default would call __init__ with the message alone.
        return _rebuild, (type(self), self.message), self.__dict__


def _rebuild(kind: type[LikenessError], message: str) -> LikenessError:
    return kind.__new__(kind, message)


class InvalidInputError(LikenessError):
    """A request field has a value that is not allowed; the message says which values are."""

    code = "INVALID_ARGUMENT"

    def __init__(self, field: str, problem: str, *, allowed: str = "", reason: Reason = Reason.INVALID_FIELD) -> None:
        message = f"{field}: {problem}" + (f"; allowed: {allowed}" if allowed else "")
        super().__init__(reason, message, field=field, metadata={"allowed": allowed} if allowed else None)


class ImageError(InvalidInputError):
    """A picture is unreadable, too large, animated, or takes too much to decode."""

    def __init__(self, reason: Reason, problem: str, *, field: str = "image", allowed: str = "") -> None:
        super().__init__(field, problem, allowed=allowed, reason=reason)
        self.problem = problem
        self.allowed = allowed

    def at(self, field: str) -> ImageError:
        """The same error, blamed on the request field that carried the picture."""
        return ImageError(self.reason, self.problem, field=field, allowed=self.allowed)


class OutOfRangeError(LikenessError):
    """An item of a stream came before items that precede it."""

    code = "OUT_OF_RANGE"


class UnauthenticatedError(LikenessError):
    """The call has no API key, or one that is not valid (any more)."""

    code = "UNAUTHENTICATED"


class ForbiddenError(LikenessError):
    """The API key's scope does not cover the call."""

    code = "PERMISSION_DENIED"


class NotFoundError(LikenessError):
    """A named session, picture, metric, model or strategy does not exist."""

    code = "NOT_FOUND"

    def __init__(
        self, reason: Reason, kind: str, name: str, *, field: str = "", known: Iterable[str] = (), hint: str = ""
    ) -> None:
        choices = ", ".join(sorted(known))
        message = f"{kind} {name[:120]!r} does not exist" + (f": {hint}" if hint else "")
        message += f"; known: {choices}" if choices else ""
        super().__init__(reason, message, field=field, metadata={"kind": kind, "name": name[:120]})


class ConflictError(LikenessError):
    """A request_id came again with another body."""

    code = "ALREADY_EXISTS"


class PreconditionError(LikenessError):
    """The session is not in a state that allows the call."""

    code = "FAILED_PRECONDITION"


class OverloadedError(LikenessError):
    """A queue is full."""

    code = "RESOURCE_EXHAUSTED"


class LimitError(LikenessError):
    """A limit of the key or a quota of the tenant is reached; nothing was begun.

    Attributes:
        subject: Whose limit it is, such as "key:1f0c" or "tenant:acme".
    """

    code = "RESOURCE_EXHAUSTED"

    def __init__(self, reason: Reason, message: str, *, subject: str, retry_after_seconds: float) -> None:
        super().__init__(
            reason, message, metadata={"subject": subject}, retry_after_seconds=max(retry_after_seconds, 0.001)
        )
        self.subject = subject


class DeadlineError(LikenessError):
    """The time given is over, or the queue is longer than it."""

    code = "DEADLINE_EXCEEDED"


class UnavailableError(LikenessError):
    """A backend, store or model does not answer."""

    code = "UNAVAILABLE"


class DamagedObjectError(UnavailableError):
    """The object store answers, and with other bytes than were stored under the hash."""

    def __init__(self, content_hash: str) -> None:
        super().__init__(Reason.OBJECT_STORE_UNAVAILABLE, f"the stored bytes of {content_hash} are damaged")


class CancelledError(LikenessError):
    """The work was stopped on request."""

    code = "CANCELLED"

    def __init__(self, message: str = "cancelled on request") -> None:
        super().__init__(Reason.CANCELLED, message)


class InternalError(LikenessError):
    """A defect of ours. The cause goes to the log, never to a client."""

    def __init__(self, message: str = "internal error; see the server's log under this request id") -> None:
        super().__init__(Reason.INTERNAL, message)
