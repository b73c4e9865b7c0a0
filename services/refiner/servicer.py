"""The refiner's RPCs: handlers that Ray Serve shares, and a servicer for a plain gRPC server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from likeness.refiner.v1 import refiner_service_pb2 as pb
from likeness.refiner.v1 import refiner_service_pb2_grpc as pb_grpc
from services.common.backend_rpcs import MAX_REQUEST_ID_CHARACTERS, handled, or_abort
from services.common.errors import InvalidInputError
from services.refiner import converters
from services.refiner.service import RefinerService


class Handlers:
    """Request message in, response message out; every failure is a LikenessError."""

    def __init__(self, service: RefinerService) -> None:
        self._service = service

    async def understand(self, request: pb.UnderstandRequest) -> pb.UnderstandResponse:
        """Describes a picture."""
        with _handled("Understand", request.request_id):
            image = converters.image_bytes(request.image, "image")
            tree, prompt = await self._service.understand(request.strategy, image)
            return pb.UnderstandResponse(tree=converters.tree_message(tree), prompt=prompt)

    async def propose(self, request: pb.ProposeRequest) -> pb.ProposeResponse:
        """Writes the prompts of a round."""
        with _handled("Propose", request.request_id):
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

    async def critique(self, request: pb.CritiqueRequest) -> pb.CritiqueResponse:
        """Says how the best picture differs."""
        with _handled("Critique", request.request_id):
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

    async def revise(self, request: pb.ReviseRequest) -> pb.ReviseResponse:
        """Applies feedback."""
        with _handled("Revise", request.request_id):
            feedback = converters.feedback_from(request.feedback)
            return converters.revise_response(await self._service.revise(request.strategy, request.prompt, feedback))

    async def list_strategies(self) -> pb.ListStrategiesResponse:
        """Lists strategies and models."""
        with _handled("ListStrategies"):
            return converters.list_response(self._service.strategies(), self._service.models())


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
        return await or_abort(self._handlers.understand(request), context)

    async def Propose(
        self, request: pb.ProposeRequest, context: grpc.aio.ServicerContext[pb.ProposeRequest, pb.ProposeResponse]
    ) -> pb.ProposeResponse:
        """See the contract."""
        return await or_abort(self._handlers.propose(request), context)

    async def Critique(
        self, request: pb.CritiqueRequest, context: grpc.aio.ServicerContext[pb.CritiqueRequest, pb.CritiqueResponse]
    ) -> pb.CritiqueResponse:
        """See the contract."""
        return await or_abort(self._handlers.critique(request), context)

    async def Revise(
        self, request: pb.ReviseRequest, context: grpc.aio.ServicerContext[pb.ReviseRequest, pb.ReviseResponse]
    ) -> pb.ReviseResponse:
        """See the contract."""
        return await or_abort(self._handlers.revise(request), context)

    async def ListStrategies(
        self,
        request: pb.ListStrategiesRequest,
        context: grpc.aio.ServicerContext[pb.ListStrategiesRequest, pb.ListStrategiesResponse],
    ) -> pb.ListStrategiesResponse:
        """See the contract."""
        return await or_abort(self._handlers.list_strategies(), context)


@contextmanager
def _handled(method: str, request_id: str = "") -> Iterator[None]:
    with handled("refiner", method, request_id):
        if len(request_id) > MAX_REQUEST_ID_CHARACTERS:
            allowed = f"at most {MAX_REQUEST_ID_CHARACTERS} characters"
            raise InvalidInputError("request_id", f"it has {len(request_id)} characters", allowed=allowed)
        yield
