"""Around every call: request id, who may call, deadline, latency, and the one place where errors become statuses."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.common import grpc_errors, tracing
from services.common.errors import InternalError, InvalidInputError, LikenessError
from services.common.telemetry import bind, get_logger, rpc_timer
from services.gateway import deadline
from services.gateway.access.caller import IncomingCall

REQUEST_ID_KEY = "x-request-id"
_AUTHORIZATION_KEY = "authorization"
_DETAILS_KEY = "grpc-status-details-bin"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}")

log = get_logger(__name__)


Admit = Callable[[IncomingCall], AbstractAsyncContextManager[None]]
"""Lets a call in for as long as the block runs and says who calls, or raises a LikenessError."""

_HANDLERS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether requests and whether responses are a stream."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method, whether it takes or gives one message or a stream of them.

    Args:
        admit: Who lets calls in; None lets everybody.
    """

    def __init__(self, admit: Admit | None = None) -> None:
        self._admit = admit or _everybody

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the method's handler."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return handler
        call = _Call(handler_call_details, self._admit)
        behavior = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        wrap = _wrap_stream if handler.response_streaming else _wrap_unary
        readable = _readable_stream if handler.request_streaming else _readable
        return _HANDLERS[handler.request_streaming, handler.response_streaming](
            wrap(lambda request, context: behavior(readable(request), context), call),
            request_deserializer=_tolerant(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


def request_id_of(context: Any) -> str:
    """Id that a wrapped call was given, or took from its caller."""
    return str(dict(context.trailing_metadata() or ()).get(REQUEST_ID_KEY, ""))


class _Call:
    """One call's way in: what its handler details say, and who lets it in."""

    def __init__(self, details: grpc.HandlerCallDetails, admit: Admit) -> None:
        metadata = dict(details.invocation_metadata or ())
        self.path = details.method
        self.metadata = details.invocation_metadata
        self.request_id = _request_id(metadata.get(REQUEST_ID_KEY))
        authorization = metadata.get(_AUTHORIZATION_KEY, "")
        self._authorization = authorization if isinstance(authorization, str) else ""
        self._admit = admit

    @property
    def method(self) -> str:
        """Service and method, for metrics and logs."""
        return self.path.rpartition(".")[2]

    def admitted(self, context: Any) -> AbstractAsyncContextManager[None]:
        """Open for as long as the call is let in."""
        return self._admit(IncomingCall(self.path, self._authorization, context.peer()))


def _wrap_unary(behavior: Callable[[Any, Any], Awaitable[Any]], call: _Call) -> Callable[..., Any]:
    async def unary(request: Any, context: Any) -> Any:
        async with _answered(context, call):
            return await behavior(request, context)

    return unary


def _wrap_stream(behavior: Callable[[Any, Any], Any], call: _Call) -> Callable[..., Any]:
    # A coroutine that writes, not a generator: when the client leaves, everything below is closed at once.
    async def stream(request: Any, context: Any) -> None:
        async with _answered(context, call):
            responses = behavior(request, context)
            if not isinstance(responses, AsyncIterator):
                await responses
                return
            async with aclosing(responses):  # type: ignore[type-var]
                async for response in responses:
                    await context.write(response)

    return stream


def _tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Bytes that are no message become None, to be refused where errors become statuses: gRPC would say UNKNOWN."""
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return None

    return read


def _readable(request: Any) -> Any:
    if request is None:
        raise InvalidInputError("request", "cannot be read", allowed="a message of the method's request type")
    return request


async def _readable_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


@asynccontextmanager
async def _everybody(_: IncomingCall) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _answered(context: Any, call: _Call) -> AsyncIterator[None]:
    method, request_id = call.method, call.request_id
    metadata = ((REQUEST_ID_KEY, request_id),)
    context.set_trailing_metadata(metadata)
    with (
        _span(call) as span,
        bind(request_id=request_id),
        rpc_timer("gateway", method) as timed,
        deadline.bound(context.time_remaining()),
    ):
        try:
            async with call.admitted(context):
                yield
            span.answered(timed.code)
            return
        except grpc.aio.AbortError:
            timed.code = context.code().name
            span.answered(timed.code)
            raise
        except grpc.aio.InternalError:
            # The caller left while an answer was being written: nobody is there to be told anything.
            timed.code = grpc.StatusCode.CANCELLED.name
            span.answered(timed.code)
            return
        except LikenessError as error:
            failure = error
            log.info("rpc_failed", method=method, reason=error.reason.value, field=error.field)
        except Exception:
            failure = InternalError()
            log.exception("rpc_crashed", method=method)
        timed.code = failure.code
        span.answered(failure.code)
        span.failed(failure)
        status = grpc_errors.to_status(failure)
        details = (_DETAILS_KEY, status.SerializeToString())
        await context.abort(grpc_errors.code_of(failure), status.message, trailing_metadata=(*metadata, details))


def _span(call: _Call) -> AbstractContextManager[tracing.Span]:
    path = call.path.lstrip("/")
    # Load balancers ask for health every few seconds: what is not our own API begins no trace.
    return tracing.served(path, call.metadata, begins=path.startswith("likeness."))


def _request_id(sent: object) -> str:
    if isinstance(sent, str) and _REQUEST_ID.fullmatch(sent):
        return sent
    return uuid.uuid4().hex
