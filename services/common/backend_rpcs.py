"""How backends answer calls, on Ray Serve and on a plain gRPC server: latency, log, trace, errors as statuses."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import grpc

from services.common import tracing
from services.common.errors import InternalError, LikenessError
from services.common.grpc_errors import code_of, to_detail
from services.common.telemetry import bind, get_logger, rpc_timer

MAX_REQUEST_ID_CHARACTERS = 64

Response = TypeVar("Response")
log = get_logger(__name__)


class StatusContext(Protocol):
    """The part of a gRPC context that Ray Serve and grpc.aio share."""

    def invocation_metadata(self) -> Any:
        """Pairs of the call's metadata."""
        ...

    def set_code(self, code: grpc.StatusCode) -> None:
        """Sets the status code of the call."""
        ...

    def set_details(self, details: str) -> None:
        """Sets the status details of the call."""
        ...


@contextmanager
def handled(service: str, method: str, request_id: str = "") -> Iterator[None]:
    """Around the work of a call: it is timed, its log lines name the request, and all it raises is a LikenessError."""
    with bind(request_id=request_id[:MAX_REQUEST_ID_CHARACTERS]), rpc_timer(service, method):
        try:
            yield
        except LikenessError as error:
            log.info("rpc_refused", method=method, reason=error.reason.value, field=error.field)
            raise
        except Exception as error:
            log.exception("rpc_failed", method=method)
            raise InternalError() from error


def set_status(context: StatusContext, error: LikenessError) -> None:
    """The status of a call that fails. Ray Serve keeps code and details of it and drops trailing metadata."""
    context.set_code(code_of(error))
    context.set_details(to_detail(error))


async def answered(method: str, work: Awaitable[Response], context: StatusContext) -> Response:
    """What the work returns, as the answer of Ray Serve to a call; errors are raised on, with their status set.

    Args:
        method: Full name, such as "likeness.scorer.v1.ScorerService/Embed".
        work: What a handler does.
        context: Of the call.
    """
    try:
        with tracing.served(method, context.invocation_metadata()):
            return await work
    except LikenessError as error:
        set_status(context, error)
        raise


async def or_abort(work: Awaitable[Response], context: grpc.aio.ServicerContext[Any, Any]) -> Response:
    """What the work returns, as the answer of a plain gRPC server to a call, which errors end."""
    try:
        return await work
    except LikenessError as error:
        await context.abort(code_of(error), to_detail(error))
