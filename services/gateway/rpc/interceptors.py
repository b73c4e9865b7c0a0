"""Around every call: request id, deadline, latency, and the one place where errors become statuses."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc

from services.common import grpc_errors
from services.common.errors import InternalError, LikenessError
from services.common.telemetry import bind, get_logger, rpc_timer
from services.gateway import deadline

REQUEST_ID_KEY = "x-request-id"
_DETAILS_KEY = "grpc-status-details-bin"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}")

log = get_logger(__name__)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps unary and server-streaming methods. Others (reflection) pass."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the method's handler."""
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        method = handler_call_details.method.rpartition(".")[2]
        request_id = _request_id(handler_call_details.invocation_metadata)
        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            stream = _wrap_stream(handler.unary_stream, method, request_id)
            return grpc.unary_stream_rpc_method_handler(stream, **codecs)
        unary = _wrap_unary(handler.unary_unary, method, request_id)
        return grpc.unary_unary_rpc_method_handler(unary, **codecs)


def request_id_of(context: Any) -> str:
    """Id that a wrapped call was given, or took from its caller."""
    return str(dict(context.trailing_metadata() or ()).get(REQUEST_ID_KEY, ""))


def _wrap_unary(behavior: Callable[[Any, Any], Awaitable[Any]], method: str, request_id: str) -> Callable[..., Any]:
    async def unary(request: Any, context: Any) -> Any:
        async with _call(context, method, request_id):
            return await behavior(request, context)

    return unary


def _wrap_stream(behavior: Callable[[Any, Any], Any], method: str, request_id: str) -> Callable[..., Any]:
    # A coroutine that writes, not a generator: when the client leaves, everything below is closed at once.
    async def stream(request: Any, context: Any) -> None:
        async with _call(context, method, request_id):
            responses = behavior(request, context)
            if not isinstance(responses, AsyncIterator):
                await responses
                return
            async with aclosing(responses):  # type: ignore[type-var]
                async for response in responses:
                    await context.write(response)

    return stream


@asynccontextmanager
async def _call(context: Any, method: str, request_id: str) -> AsyncIterator[None]:
    metadata = ((REQUEST_ID_KEY, request_id),)
    context.set_trailing_metadata(metadata)
    with (
        bind(request_id=request_id),
        rpc_timer("gateway", method) as timed,
        deadline.bound(context.time_remaining()),
    ):
        try:
            yield
            return
        except grpc.aio.AbortError:
            timed.code = context.code().name
            raise
        except LikenessError as error:
            failure = error
            log.info("rpc_failed", method=method, reason=error.reason.value, field=error.field)
        except Exception:
            failure = InternalError()
            log.exception("rpc_crashed", method=method)
        timed.code = failure.code
        status = grpc_errors.to_status(failure)
        details = (_DETAILS_KEY, status.SerializeToString())
        await context.abort(grpc_errors.code_of(failure), status.message, trailing_metadata=(*metadata, details))


def _request_id(metadata: Any) -> str:
    sent = next((value for key, value in metadata or () if key == REQUEST_ID_KEY), "")
    if isinstance(sent, str) and _REQUEST_ID.fullmatch(sent):
        return sent
    return uuid.uuid4().hex
