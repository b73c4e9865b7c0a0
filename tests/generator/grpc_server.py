"""A real in-process gRPC server over the generator's servicer, and short ways to call it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from services.common.errors import LikenessError
from services.common.settings import MAX_MESSAGE_BYTES
from services.generator.service import GeneratorService
from services.generator.servicer import GeneratorServicer

_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
]


class PlainServicer(rpc.GeneratorServiceServicer):
    """Does for grpc.aio what Ray Serve does for a replica: code and details set before a raise become the status."""

    def __init__(self, service: GeneratorService) -> None:
        self._servicer = GeneratorServicer(service)

    async def Generate(
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.GenerateResponse]:
        try:
            async for answer in self._servicer.Generate(request, context):
                yield answer
        except LikenessError:
            await context.abort(context.code(), context.details())

    async def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListModelsResponse:
        try:
            return await self._servicer.ListModels(request, context)
        except LikenessError:
            await context.abort(context.code(), context.details())
            raise


@asynccontextmanager
async def listen(service: GeneratorService) -> AsyncIterator[str]:
    """Runs a server on a free port and gives its address."""
    server = grpc.aio.server(options=_OPTIONS)
    rpc.add_GeneratorServiceServicer_to_server(PlainServicer(service), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def serve(service: GeneratorService) -> AsyncIterator[rpc.GeneratorServiceStub]:
    """Runs a server on a free port and gives a stub."""
    async with listen(service) as address, grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        yield rpc.GeneratorServiceStub(channel)


def request(*items: pb.GenerateItem, model: str = "", request_id: str = "q1", **fields: object) -> pb.GenerateRequest:
    """A Generate request."""
    return pb.GenerateRequest(request_id=request_id, model=model, items=items, **fields)


def item(item_id: str = "a", prompt: str = "a red star", seed: int = 1, **fields: object) -> pb.GenerateItem:
    """One item with the model's defaults."""
    return pb.GenerateItem(item_id=item_id, prompt=prompt, seed=seed, **fields)


async def events(stub: rpc.GeneratorServiceStub, *items: pb.GenerateItem) -> list[pb.GenerateResponse]:
    """All events of a call."""
    return [event async for event in stub.Generate(request(*items))]


def pngs(answers: list[pb.GenerateResponse]) -> dict[str, bytes]:
    """Finished pictures by item."""
    return {answer.item_id: answer.image.image.data for answer in answers if answer.HasField("image")}
