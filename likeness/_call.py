"""A call of the API as a value. The sync and the async client run the same values; only the running differs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from likeness._errors import InvalidArgument

Result = TypeVar("Result")
Body = TypeVar("Body", bound=Message)


def new_id() -> str:
    """A request id."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One unary or server-streaming call.

    Attributes:
        path: Full gRPC path.
        response: Message class of an answer.
        convert: Reads an answer.
        repeatable: Whether a second attempt cannot have a second effect.
        request_id: Correlates the call with the server's logs; sent as metadata with every attempt.
    """

    path: str
    request: Message
    response: type[Message]
    convert: Callable[[Any], Result]
    repeatable: bool = True
    request_id: str = field(default_factory=new_id)


def service_call(
    service: str,
    method: str,
    request: Message,
    response: type[Message],
    convert: Callable[[Any], Result],
    *,
    repeatable: bool = True,
) -> Call[Result]:
    """A call of the gateway; one whose message has a request id carries the same id as metadata."""
    request_id = getattr(request, "request_id", "") or new_id()
    return Call(f"/likeness.gateway.v1.{service}/{method}", request, response, convert, repeatable, request_id)


def build(kind: type[Body], *, prefix: str = "", **fields: Any) -> Body:
    """The message; a value that its field cannot hold (a number out of range) is an InvalidArgument that names it."""
    try:
        return kind(**fields)
    except ValueError:
        for name, value in fields.items():
            try:
                kind(**{name: value})
            except ValueError as error:
                field_name = prefix + name
                message = f"{field_name}: {error}"
                raise InvalidArgument(message, reason="INVALID_FIELD", field=field_name) from error
        raise
