"""The scorer on a real gRPC server, pictures for it, and what it refuses with."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from likeness.scorer.v1 import scorer_service_pb2_grpc as pb_grpc
from likeness.types.v1 import image_pb2
from services.common.settings import MAX_MESSAGE_BYTES
from services.scorer.pictures import Picture
from services.scorer.registry import Registry
from services.scorer.service import Scorer
from services.scorer.servicer import Handlers, ScorerServicer

CODES = grpc.StatusCode


@asynccontextmanager
async def serving(registry: Registry) -> AsyncIterator[pb_grpc.ScorerServiceAsyncStub]:
    """A stub of a server with these metrics."""
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", -1)]
    server, scorer = grpc.aio.server(options=options), Scorer(registry)
    pb_grpc.add_ScorerServiceServicer_to_server(ScorerServicer(Handlers(scorer)), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield pb_grpc.ScorerServiceStub(channel)
    await server.stop(None)
    scorer.close()


def png(picture: Picture) -> image_pb2.Image:
    """A picture as it is sent."""
    out = io.BytesIO()
    picture.rgb.save(out, "PNG")
    return image_pb2.Image(data=out.getvalue())


async def refusal(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> tuple[grpc.StatusCode, dict[str, str]]:
    """Status and details that a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), json.loads(caught.value.details() or "")
