"""What Ray Serve's gRPC proxy registers for each backend (`grpc_servicer_functions`): cancelled calls end everywhere.

Serve's proxy hands a cancellation on to the replica only if it meets the proxy while that waits for the replica's next
message (Ray 2.60, `ProxyResponseGenerator.__anext__`). A client that cancels while the proxy writes a message to it,
likely where messages come fast, left the replica working for nobody. The handlers put in place here resume the
proxy's handler once more in that case, only to cancel it where it listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc

from likeness.generator.v1 import generator_service_pb2_grpc as generator
from likeness.refiner.v1 import refiner_service_pb2_grpc as refiner
from likeness.scorer.v1 import scorer_service_pb2_grpc as scorer

Handler = Callable[[Any, Any], AsyncGenerator[bytes, None]]


def add_generator(servicer: Any, server: Any) -> None:
    """Registers GeneratorService with Serve's proxy."""
    _register(generator.add_GeneratorServiceServicer_to_server, servicer, server)


def add_scorer(servicer: Any, server: Any) -> None:
    """Registers ScorerService with Serve's proxy."""
    _register(scorer.add_ScorerServiceServicer_to_server, servicer, server)


def add_refiner(servicer: Any, server: Any) -> None:
    """Registers RefinerService with Serve's proxy."""
    _register(refiner.add_RefinerServiceServicer_to_server, servicer, server)


SERVICERS = [f"{__name__}.{function.__name__}" for function in (add_generator, add_scorer, add_refiner)]
"""Import paths for `gRPCOptions(grpc_servicer_functions=...)` and for Serve configuration files."""


def _register(add: Callable[[Any, Any], None], servicer: Any, server: Any) -> None:
    # Serve's server asks its factory for the handler of every method that is added, whatever the servicer is.
    original = server.service_handler_factory

    def factory(*, service_method: str, streaming_type: Any) -> Any:
        handler = original(service_method=service_method, streaming_type=streaming_type)
        return ending_with_its_call(handler) if streaming_type.name == "UNARY_STREAM" else handler

    server.service_handler_factory = factory
    try:
        add(servicer, server)
    finally:
        server.service_handler_factory = original


def ending_with_its_call(handler: Handler) -> Handler:
    """The handler, cancelled whenever its call is, also while one of its messages is being written."""

    async def unary_stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncGenerator[bytes, None]:
        messages = handler(request, _OutlivingContext(context))
        try:
            async for message in messages:
                yield message
        finally:
            await _cancel_where_it_waits(messages)

    return unary_stream


class _OutlivingContext:
    """A call's context that may be asked for its peer after the call's end, which crashes grpc's own."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context
        self._peer = context.peer()

    def peer(self) -> str:
        """Address of the client."""
        return self._peer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


async def _cancel_where_it_waits(messages: AsyncGenerator[bytes, None]) -> None:
    while True:
        waiting: asyncio.Future[bytes | None] = asyncio.ensure_future(anext(messages, None))
        # Let it reach its wait: a task cancelled before its first step never resumes the handler.
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        # Else a message was there already, and it waits for the next one now.
        if waiting.cancelled() or waiting.exception() is not None or waiting.result() is None:
            return
