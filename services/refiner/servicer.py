"""The refiner's RPCs: handlers that Ray Serve shares, and a servicer for a plain gRPC server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from likeness.refiner.v1 import refiner_service_pb2 as pb
from likeness.refiner.v1 import refiner_service_pb2_grpc as pb_grpc
from services.common.errors import InternalError, InvalidInputError, LikenessError
from services.common.grpc_errors import code_of, to_detail
from services.common.telemetry import bind, get_logger, rpc_timer
from services.refiner import converters
from services.refiner.service import RefinerService

MAX_REQUEST_ID_CHARACTERS = 64

log = get_logger(__name__)
Response = TypeVar("Response")


class Handlers:
    """Request message in, response message out; every failure is a LikenessError."""

    def __init__(self, service: RefinerService) -> None:
        self._service = service

    async def understand(self, request: pb.UnderstandRequest) -> pb.UnderstandResponse:
        """Describes a picture."""

        async def work() -> pb.UnderstandResponse:
            image = converters.image_bytes(request.image, "image")
            tree, prompt = await self._service.understand(request.strategy, image)
            return pb.UnderstandResponse(tree=converters.tree_message(tree), prompt=prompt)

        return await _answered("Understand", request.request_id, work)

    async def propose(self, request: pb.ProposeRequest) -> pb.ProposeResponse:
        """Writes the prompts of a round."""

        async def work() -> pb.ProposeResponse:
            proposals = await self._service.propose(
                request.strategy,
                target=converters.image_bytes(request.target, "target"),
                tree=converters.tree_from(request.tree) if request.HasField("tree") else None,
                base_prompt=request.base_prompt,
                round_number=request.round_number,
                prompt_count=request.prompt_count,
                aspect=converters.aspect_from(request.aspect, "aspect"),
                history=converters.attempts_from(request.history),
                seed=request.seed,
            )
            return converters.propose_response(proposals)

        return await _answered("Propose", request.request_id, work)

    async def critique(self, request: pb.CritiqueRequest) -> pb.CritiqueResponse:
        """Says how the best picture differs."""

        async def work() -> pb.CritiqueResponse:
            critique = await self._service.critique(
                request.strategy,
                target=converters.image_bytes(request.target, "target"),
                best=converters.image_bytes(request.best, "best"),
                best_prompt=request.best_prompt,
                tree=converters.tree_from(request.tree) if request.HasField("tree") else None,
                aspect=converters.aspect_from(request.aspect, "aspect"),
                round_number=request.round_number,
            )
            return converters.critique_response(critique)

        return await _answered("Critique", request.request_id, work)

    async def revise(self, request: pb.ReviseRequest) -> pb.ReviseResponse:
        """Applies feedback."""

        async def work() -> pb.ReviseResponse:
            feedback = converters.feedback_from(request.feedback)
            return converters.revise_response(await self._service.revise(request.strategy, request.prompt, feedback))

        return await _answered("Revise", request.request_id, work)

    async def list_strategies(self) -> pb.ListStrategiesResponse:
        """Lists strategies and models."""

        async def work() -> pb.ListStrategiesResponse:
            return converters.list_response(self._service.strategies(), self._service.models())

        return await _answered("ListStrategies", "", work)


class RefinerServicer(pb_grpc.RefinerServiceServicer):
    """RefinerService on a grpc.aio server."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def Understand(
        self,
        request: pb.UnderstandRequest,
        context: grpc.aio.ServicerContext[pb.UnderstandRequest, pb.UnderstandResponse],
    ) -> pb.UnderstandResponse:
        """See the contract."""
        return await _or_abort(self._handlers.understand(request), context)

    async def Propose(
        self, request: pb.ProposeRequest, context: grpc.aio.ServicerContext[pb.ProposeRequest, pb.ProposeResponse]
    ) -> pb.ProposeResponse:
        """See the contract."""
        return await _or_abort(self._handlers.propose(request), context)

    async def Critique(
        self, request: pb.CritiqueRequest, context: grpc.aio.ServicerContext[pb.CritiqueRequest, pb.CritiqueResponse]
    ) -> pb.CritiqueResponse:
        """See the contract."""
        return await _or_abort(self._handlers.critique(request), context)

    async def Revise(
        self, request: pb.ReviseRequest, context: grpc.aio.ServicerContext[pb.ReviseRequest, pb.ReviseResponse]
    ) -> pb.ReviseResponse:
        """See the contract."""
        return await _or_abort(self._handlers.revise(request), context)

    async def ListStrategies(
        self,
        request: pb.ListStrategiesRequest,
        context: grpc.aio.ServicerContext[pb.ListStrategiesRequest, pb.ListStrategiesResponse],
    ) -> pb.ListStrategiesResponse:
        """See the contract."""
        return await _or_abort(self._handlers.list_strategies(), context)


async def _answered(method: str, request_id: str, work: Callable[[], Awaitable[Response]]) -> Response:
    with bind(request_id=request_id[:MAX_REQUEST_ID_CHARACTERS]), rpc_timer("refiner", method):
        try:
            if len(request_id) > MAX_REQUEST_ID_CHARACTERS:
                allowed = f"at most {MAX_REQUEST_ID_CHARACTERS} characters"
                raise InvalidInputError("request_id", f"it has {len(request_id)} characters", allowed=allowed)
            return await work()
        except LikenessError as error:
            log.info("rpc_refused", method=method, reason=error.reason.value, field=error.field)
            raise
        except Exception as error:
            log.exception("rpc_failed", method=method)
            raise InternalError() from error


async def _or_abort(work: Awaitable[Response], context: grpc.aio.ServicerContext[Any, Any]) -> Response:
    try:
        return await work
    except LikenessError as error:
        await context.abort(code_of(error), to_detail(error))
